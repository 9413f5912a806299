import asyncio
from client import AsyncClaudeClient

async def main():
    async with AsyncClaudeClient(base_url="http://localhost:8080") as client:
        # Simple completion
        response = await client.complete("Write a haiku about Python")
        print(response.content)

asyncio.run(main())
