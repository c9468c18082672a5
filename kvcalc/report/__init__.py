"""From answers to text: one renderer per command and format. Nothing here prints or opens a file."""
