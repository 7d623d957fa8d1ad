"""The examination of a reader's own theory: stages, wrong theories, and where a failure comes from."""
