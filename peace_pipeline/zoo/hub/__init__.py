"""The Hugging Face Hub: listing, describing and fetching its models, politely."""
