"""OpenAI's and Anthropic's own clients against the program `gateway`.

    python3 examples/clients/gateway.py target/debug/gateway

Needs the packages `openai` and `anthropic`.
"""

import re
import subprocess
import sys

import anthropic
import openai

QUESTION = [{"role": "user", "content": "hey there"}]
ANSWER = ["You ", "said: ", "hey ", "there"]


def openai_client(url):
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0)
    ask = client.chat.completions.create

    whole = ask(model="parrot", messages=QUESTION)
    assert whole.choices[0].message.content == "".join(ANSWER), whole
    assert whole.usage.completion_tokens == len(ANSWER), whole

    chunks = list(ask(model="parrot", messages=QUESTION, stream=True))
    tokens = [chunk.choices[0].delta.content for chunk in chunks]
    assert tokens == ["", *ANSWER, None], tokens
    assert [chunk.choices[0].finish_reason for chunk in chunks][-2:] == [None, "stop"]

    # A large prompt arrives in many parts.
    long = [{"role": "user", "content": "x" * 3_000_000}]
    chunks = ask(model="parrot", messages=long, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == "You said: " + "x" * 3_000_000

    for model, text, expected in [
        ("ostrich", "hey", openai.NotFoundError),
        ("parrot", "fail", openai.InternalServerError),
    ]:
        try:
            ask(model=model, messages=[{"role": "user", "content": text}], stream=True)
        except expected as error:
            assert error.body["message"], error
        else:
            raise AssertionError(expected)

    tokens = []
    try:
        for chunk in ask(model="parrot", messages=[{"role": "user", "content": "fail later"}], stream=True):
            tokens.append(chunk.choices[0].delta.content)
    except openai.APIError as error:
        assert error.message == "the model is overloaded", error
    else:
        raise AssertionError("an error event")
    assert tokens == ["", "You ", "said: "], tokens


def anthropic_client(url):
    client = anthropic.Anthropic(base_url=url, api_key="any", max_retries=0)
    options = {"model": "parrot", "max_tokens": 100}

    whole = client.messages.create(messages=QUESTION, **options)
    assert whole.content[0].text == "".join(ANSWER), whole

    with client.messages.stream(messages=QUESTION, **options) as stream:
        assert list(stream.text_stream) == ANSWER
        message = stream.get_final_message()
    assert message.stop_reason == "end_turn", message
    assert message.usage.output_tokens == len(ANSWER), message

    for model, text, status in [("ostrich", "hey", 404), ("parrot", "fail", 529)]:
        try:
            options["model"] = model
            client.messages.create(messages=[{"role": "user", "content": text}], stream=True, **options)
        except anthropic.APIStatusError as error:
            assert error.status_code == status, error
        else:
            raise AssertionError(status)

    tokens = []
    try:
        with client.messages.stream(messages=[{"role": "user", "content": "fail later"}], **options) as stream:
            for text in stream.text_stream:
                tokens.append(text)
    except anthropic.APIStatusError as error:
        assert error.body["error"]["type"] == "overloaded_error", error
    else:
        raise AssertionError("an error event")
    assert tokens == ["You ", "said: "], tokens


def main(program):
    for options in [], ["--axum"]:
        command = [program, "--listen", "127.0.0.1:0", *options]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as gateway:
            try:
                url = re.search(r"http://[^/]+", gateway.stdout.readline()).group()
                openai_client(url)
                anthropic_client(url)
            finally:
                gateway.terminate()
        assert gateway.returncode == 0, gateway.returncode
        print("passed:", " ".join(command))


main(sys.argv[1])
