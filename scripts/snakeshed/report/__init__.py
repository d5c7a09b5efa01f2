"""What a person looks at: the report, cards of sites, and the summary."""
