"""Tasks in the text of a pretrained model."""
