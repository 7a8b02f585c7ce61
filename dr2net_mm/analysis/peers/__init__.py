"""What a user could pick instead, for the same network: variants to be measured."""
