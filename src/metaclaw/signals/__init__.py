"""Evidence about turns: detectors (pure), their combination, and the ledger. Owns the table `signals`."""
