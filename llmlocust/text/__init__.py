"""Text: numbers as words, URLs without secrets, and text from outside cleaned for a medium. Pure."""
