"""What several tests need; no test is imported from another."""
