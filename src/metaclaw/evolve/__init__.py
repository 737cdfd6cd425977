"""The fast loop: a failure becomes a proposal, the proposal is screened and verified, and what holds is published."""
