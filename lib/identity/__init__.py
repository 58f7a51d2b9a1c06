"""Who is asking: tokens, sign-in, sessions, and the tokens the gateway gets on a person's behalf."""
