"""What is done with questions, answers and rows before and after the agent is asked."""
