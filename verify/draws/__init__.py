"""Networks drawn and measured, by processes of one machine or many, and kept."""
