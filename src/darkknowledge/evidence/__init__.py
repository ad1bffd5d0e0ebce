"""What the records say: samples by block, intervals, claims with verdicts, sentences."""
