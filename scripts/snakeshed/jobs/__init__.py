"""What every job has: a log, a lock, the digest of its code, and the machine it runs on."""
