"""Tasks in the text of a pretrained model."""

from lit_retrieval.tasks.text.friends import Friends
from lit_retrieval.tasks.text.hotpot_qa import HotpotQA
from lit_retrieval.tasks.text.phonebook import Phonebook
from lit_retrieval.tasks.text.text_task import Dialogue, TextTask

__all__ = ["Dialogue", "Friends", "HotpotQA", "Phonebook", "TextTask"]
