"""Text: numbers as words, and text from outside cleaned for a medium. Pure."""
