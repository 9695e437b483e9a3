"""Arms under codes until the reveal: codes, commitment, blinded results, closed states, and what shows."""
