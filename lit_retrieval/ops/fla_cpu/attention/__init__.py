"""fla's kinds of attention on a CPU, by PyTorch; each function has the name and the arguments of fla's own."""
