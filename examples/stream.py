from client import ClaudeClient

with ClaudeClient(base_url="http://localhost:8080") as client:
    with client.stream("Tell me about the sea", max_tokens=80) as stream:
        for chunk in stream:
            print(chunk, end="", flush=True)
    print(f"\n[{stream.usage.output_tokens} tokens of {stream.model}, ${stream.cost:.4f}]")
