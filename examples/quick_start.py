from client import ClaudeClient

# Create client
with ClaudeClient(base_url="http://localhost:8080") as client:
    # Simple completion
    response = client.complete("Write a haiku about Python")
    print(response.content)
    print(f"Cost: ${response.cost:.4f}")
