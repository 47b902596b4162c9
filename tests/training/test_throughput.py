from tiny_fit import fit

from lit_retrieval.training import Throughput


def test_speed_is_logged_once_in_so_many_steps_and_padding_is_no_token(tmp_path, monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr("time.perf_counter", lambda: float(next(clock)))
    logged, batches = [], []

    class Noting(Throughput):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            pl_module.log = lambda name, value, **options: logged.append((trainer.global_step, name, value))
            batches.append(batch)
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    fit(tmp_path, steps=9, accumulate_grad_batches=2, callbacks=[Noting(every_n_steps=4)], log_every_n_steps=50)
    samples = [value for _, name, value in logged if name == "train/samples_per_second"]
    assert samples == [6 * 8, 8 * 8], "three steps of two batches, then four, each within one second"
    rates = [(step, value) for step, name, value in logged if name == "train/tokens_per_second"]
    assert [step for step, _ in rates] == [4, 8], "once for each step, though it has two batches"
    tokens = sum(int(batch.length.sum()) for batch in batches[2:8])  # the clock starts when the first step is complete
    assert rates[0][1] == tokens and any(int(batch.length.sum()) < batch.tokens.numel() for batch in batches[2:8])
