"""The curation bench: thousands of failures drawn from fifty latent rules, and what the library makes of them."""
