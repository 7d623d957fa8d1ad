"""What is found, in the terminal, as a record, a page, a book and pictures."""
