"""What is asserted about which networks: settings, the paper's claims, and those of extensions."""
