"""What the official Python client does with a running server. Each command prints one JSON value.

Usage: openai_python.py COMMAND, with BASE_URL and API_KEY in the environment.
"""

import asyncio
import json
import os
import sys
import time

import openai

MESSAGES = [{"role": "user", "content": "Hello"}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "maxLength": 8}},
                "required": ["city"],
            },
        },
    }
]
SCHEMA = {
    "type": "object",
    "properties": {
        "colour": {"enum": ["red", "green"]},
        "count": {"type": "integer", "minimum": 0, "maximum": 9},
    },
    "required": ["colour", "count"],
    "additionalProperties": False,
}


def settings(**changes):
    return {
        "base_url": os.environ["BASE_URL"],
        "api_key": os.environ["API_KEY"],
        "max_retries": 0,
        **changes,
    }


def client(**changes):
    return openai.OpenAI(**settings(**changes))


def models():
    return {
        "listed": [model.id for model in client().models.list()],
        "shown": client().models.retrieve("tiny").id,
    }


def chat():
    answer = client().chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=7)
    return {**answer.model_dump(), "request_id": answer._request_id}


def stream():
    request = {"model": "tiny", "messages": MESSAGES, "max_tokens": 12, "temperature": 0, "seed": 1}
    whole = client().chat.completions.create(**request)
    chunks = list(
        client().chat.completions.create(**request, stream=True, stream_options={"include_usage": True})
    )
    return {
        "whole": whole.choices[0].message.content,
        "streamed": "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices),
        "finish": [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason],
        "usages": [chunk.usage.completion_tokens for chunk in chunks if chunk.usage],
    }


def async_stream():
    async def read():
        async with openai.AsyncOpenAI(**settings()) as caller:
            tokens = 0
            answer = await caller.chat.completions.create(
                model="tiny", messages=MESSAGES, max_tokens=9, stream=True, logprobs=True
            )
            async for chunk in answer:
                tokens += len((chunk.choices[0].logprobs and chunk.choices[0].logprobs.content) or [])
            return tokens

    return asyncio.run(read())


def tools():
    request = {
        "model": "tiny",
        "messages": MESSAGES,
        "tools": TOOLS,
        "tool_choice": "required",
        "max_tokens": 200,
    }
    whole = client().chat.completions.create(**request)
    with client().chat.completions.stream(**request) as events:
        streamed = events.get_final_completion()
    called = client().chat.completions.create(
        model="tiny",
        max_tokens=3,
        tools=TOOLS,
        messages=[
            *MESSAGES,
            whole.choices[0].message,
            {"role": "tool", "tool_call_id": whole.choices[0].message.tool_calls[0].id, "content": "sunny"},
        ],
    )
    return {
        "whole": whole.choices[0].model_dump(),
        "streamed": streamed.choices[0].model_dump(),
        "after": called.usage.completion_tokens,
    }


def json_schema():
    answer = client().chat.completions.create(
        model="tiny",
        messages=MESSAGES,
        max_tokens=200,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "thing", "strict": True, "schema": SCHEMA},
        },
    )
    return json.loads(answer.choices[0].message.content)


def completions():
    answer = client().completions.create(model="tiny", prompt=["a", "b"], max_tokens=4, logprobs=2)
    return [
        {"index": choice.index, "tokens": len(choice.logprobs.tokens), "text": choice.text}
        for choice in answer.choices
    ]


def embeddings():
    # Asks for base64 by default, and decodes it.
    packed = client().embeddings.create(model="tiny", input=["one", "two"])
    plain = client().embeddings.create(model="tiny", input="one", encoding_format="float")
    return {
        "lengths": [len(item.embedding) for item in packed.data],
        "packed": packed.data[0].embedding[:4],
        "plain": plain.data[0].embedding[:4],
        "tokens": packed.usage.prompt_tokens,
    }


def responses():
    request = {"model": "tiny", "input": "Hello", "max_output_tokens": 9, "temperature": 0}
    whole = client().responses.create(**request)
    with client().responses.stream(**request) as events:
        told = list(events)
    background = client().responses.create(**{**request, "max_output_tokens": 200}, background=True)
    followed = list(client().responses.retrieve(background.id, stream=True))
    rest = list(client().responses.retrieve(background.id, stream=True, starting_after=5))
    after = client().responses.create(**request, previous_response_id=whole.id)
    items = client().responses.input_items.list(whole.id)
    client().responses.delete(whole.id)
    return {
        "whole": whole.output_text,
        "streamed": told[-1].response.output_text,
        "types": [told[0].type, told[-1].type],
        "queued": background.status,
        "numbers": [event.sequence_number for event in followed],
        "rest": len(rest),
        "kept": client().responses.retrieve(background.id).output_text == followed[-1].response.output_text,
        "longer": after.usage.input_tokens > whole.usage.input_tokens,
        "items": [item.content[0].text for item in items],
    }


def errors():
    create = client().chat.completions.create
    calls = {
        "no key": lambda: client().models.list(extra_headers={"Authorization": openai.Omit()}),
        "wrong key": lambda: client(api_key="hf_live_wrong").models.list(),
        "unknown model": lambda: create(model="nope", messages=MESSAGES),
        "unknown address": lambda: client().post("/nothing", cast_to=object, body={}),
        "too long": lambda: create(model="tiny", messages=[{"role": "user", "content": "word " * 3000}]),
        "unknown parameter": lambda: create(model="tiny", messages=MESSAGES, extra_body={"temprature": 1}),
        "out of range": lambda: create(model="tiny", messages=MESSAGES, top_p=7),
    }
    return {name: failure(call) for name, call in calls.items()}


def failure(call):
    try:
        call()
    except openai.APIStatusError as error:
        return {
            "class": type(error).__name__,
            "status": error.status_code,
            "code": error.code,
            "param": error.param,
            "type": error.type,
            "message": error.message,
            "request_id": error.request_id,
        }
    return "it did not fail"


def cancel():
    """Leaves a long stream after its first chunk, then asks for all slots at once."""
    caller = client()
    with caller.chat.completions.create(
        model="tiny", messages=MESSAGES, max_tokens=900, stream=True
    ) as answer:
        first = next(iter(answer))
        request_id = answer.response.headers["x-request-id"]
    started = time.monotonic()
    after = caller.chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=1, n=4)
    return {
        "first": first.object,
        "request_id": request_id,
        "choices": len(after.choices),
        "seconds": time.monotonic() - started,
    }


COMMANDS = {
    command.__name__: command
    for command in (
        models,
        chat,
        stream,
        async_stream,
        tools,
        json_schema,
        completions,
        embeddings,
        responses,
        errors,
        cancel,
    )
}

if __name__ == "__main__":
    print(json.dumps(COMMANDS[sys.argv[1]]()))
