"""How likely a behaviour is: plain sampling, and importance sampling with a bound that holds."""
