#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""One interoperability case over grpcio; interop.mjs runs it.

Usage: python.py ADDRESS GENERATED CASE

GENERATED is the directory of messages_pb2.py and empty_pb2.py. Exit status 0
when the case passes. What takes too long says where it stands.
"""
import faulthandler
import importlib.util
import os
import queue
import sys
import threading
import types

import grpc

SECONDS = 20
STUCK_SECONDS = 50  # interop.mjs waits no longer than 60
ADDRESS, GENERATED, CASE = sys.argv[1:]
SERVICE = '/grpc.testing.TestService/'
INITIAL = 'x-grpc-test-echo-initial'
TRAILING = 'x-grpc-test-echo-trailing-bin'
METADATA = ((INITIAL, 'test_initial_metadata_value'),
            (TRAILING, b'\x0a\x0b\x0a\x0b\x0a\x0b'))
REQUEST_SIZES = [27182, 8, 1828, 45904]
RESPONSE_SIZES = [31415, 9, 2653, 58979]
SLOW_REPLIES = 400
CALLS_AT_ONCE = 50


def load(name):
    """A generated module, beside grpcio's own package `grpc`."""
    spec = importlib.util.spec_from_file_location(
        name, os.path.join(GENERATED, name + '.py'))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pb = load('messages_pb2')
Empty = load('empty_pb2').Empty


def stub(channel, service=SERVICE):
    def method(kind, name, request, reply):
        return kind(service + name, request.SerializeToString,
                    reply.FromString)
    return types.SimpleNamespace(
        empty=method(channel.unary_unary, 'EmptyCall', Empty, Empty),
        unary=method(channel.unary_unary, 'UnaryCall', pb.SimpleRequest,
                     pb.SimpleResponse),
        cacheable=method(channel.unary_unary, 'CacheableUnaryCall',
                         pb.SimpleRequest, pb.SimpleResponse),
        output=method(channel.unary_stream, 'StreamingOutputCall',
                      pb.StreamingOutputCallRequest,
                      pb.StreamingOutputCallResponse),
        input=method(channel.stream_unary, 'StreamingInputCall',
                     pb.StreamingInputCallRequest,
                     pb.StreamingInputCallResponse),
        duplex=method(channel.stream_stream, 'FullDuplexCall',
                      pb.StreamingOutputCallRequest,
                      pb.StreamingOutputCallResponse),
        half=method(channel.stream_stream, 'HalfDuplexCall',
                    pb.StreamingOutputCallRequest,
                    pb.StreamingOutputCallResponse),
        unimplemented=method(channel.unary_unary, 'UnimplementedCall', Empty,
                             Empty))


def same(actual, expected):
    if actual != expected:
        raise AssertionError(f'{actual!r}, expected {expected!r}')


def fails_with(code, call, details=None):
    try:
        call()
    except grpc.RpcError as error:
        same(error.code(), code)
        if details is not None:
            same(error.details(), details)
        return
    raise AssertionError(f'no error, expected {code}')


def simple(**fields):
    return pb.SimpleRequest(
        response_size=314159, payload=pb.Payload(body=bytes(271828)), **fields)


def inputs():
    return [pb.StreamingInputCallRequest(payload=pb.Payload(body=bytes(size)))
            for size in REQUEST_SIZES]


def output(sizes, request_size=0, **parameters):
    return pb.StreamingOutputCallRequest(
        payload=pb.Payload(body=bytes(request_size)),
        response_parameters=[pb.ResponseParameters(size=size, **parameters)
                             for size in sizes])


def sizes_of(replies):
    return [len(reply.payload.body) for reply in replies]


class Pipe:
    """Requests given one by one."""

    def __init__(self):
        self.queue = queue.Queue()

    def __iter__(self):
        return iter(self.queue.get, None)

    def put(self, request):
        self.queue.put(request)

    def close(self):
        self.queue.put(None)


def empty_unary(s):
    same(s.empty(Empty(), timeout=SECONDS), Empty())


def large_unary(s):
    reply = s.unary(simple(), timeout=SECONDS)
    same(reply.payload.body, bytes(314159))


def cacheable_unary(s):
    _, call = s.cacheable.with_call(simple(), timeout=SECONDS)
    headers = dict(call.initial_metadata())
    same(headers.get('cache-control'), 'max-age=60, public')


def client_compressed_unary(s):
    wanted = pb.BoolValue(value=True)
    fails_with(grpc.StatusCode.INVALID_ARGUMENT, lambda: s.unary(
        simple(expect_compressed=wanted), timeout=SECONDS))
    reply = s.unary(simple(expect_compressed=wanted), timeout=SECONDS,
                    compression=grpc.Compression.Gzip)
    same(len(reply.payload.body), 314159)
    reply = s.unary(simple(expect_compressed=pb.BoolValue(value=False)),
                    timeout=SECONDS)
    same(len(reply.payload.body), 314159)


def client_compressed_streaming(s):
    requests = inputs()
    requests[0].expect_compressed.value = True
    fails_with(grpc.StatusCode.INVALID_ARGUMENT,
               lambda: s.input(iter(requests), timeout=SECONDS))
    reply = s.input(iter(requests), timeout=SECONDS,
                    compression=grpc.Compression.Gzip)
    same(reply.aggregated_payload_size, sum(REQUEST_SIZES))


def client_streaming(s):
    reply = s.input(iter(inputs()), timeout=SECONDS)
    same(reply.aggregated_payload_size, sum(REQUEST_SIZES))


def server_streaming(s):
    replies = s.output(output(RESPONSE_SIZES), timeout=SECONDS)
    same(sizes_of(replies), RESPONSE_SIZES)


def intervals(s):
    replies = s.output(output(RESPONSE_SIZES, interval_us=20000),
                       timeout=SECONDS)
    same(sizes_of(replies), RESPONSE_SIZES)
    fails_with(grpc.StatusCode.DEADLINE_EXCEEDED, lambda: list(
        s.output(output([1], interval_us=60000000), timeout=0.3)))


def ping_pong(s):
    pipe = Pipe()
    call = s.duplex(iter(pipe), timeout=SECONDS)
    for ask, answer in zip(REQUEST_SIZES, RESPONSE_SIZES):
        pipe.put(output([answer], ask))
        same(len(next(call).payload.body), answer)
    pipe.close()
    same(list(call), [])


def half_duplex(s):
    requests = [output([size]) for size in RESPONSE_SIZES]
    replies = s.half(iter(requests), timeout=SECONDS)
    same(sizes_of(replies), RESPONSE_SIZES)


def empty_stream(s):
    same(list(s.duplex(iter([]), timeout=SECONDS)), [])


def check_metadata(call):
    same(dict(call.initial_metadata()).get(INITIAL), METADATA[0][1])
    same(dict(call.trailing_metadata()).get(TRAILING), METADATA[1][1])


def custom_metadata(s):
    _, call = s.unary.with_call(simple(), timeout=SECONDS, metadata=METADATA)
    check_metadata(call)
    call = s.duplex(iter([output([314159], 271828)]), timeout=SECONDS,
                    metadata=METADATA)
    same(sizes_of(call), [314159])
    check_metadata(call)
    call = s.duplex(iter([]), timeout=SECONDS, metadata=METADATA)
    same(list(call), [])
    check_metadata(call)


def metadata_of_a_failure(s):
    status = pb.EchoStatus(code=2, message='no')
    try:
        s.unary(pb.SimpleRequest(response_status=status), timeout=SECONDS,
                metadata=METADATA)
    except grpc.RpcError as error:
        same(error.details(), 'no')
        check_metadata(error)
    else:
        raise AssertionError('no error')


def fail_both_ways(s, message):
    status = pb.EchoStatus(code=2, message=message)
    fails_with(grpc.StatusCode.UNKNOWN, lambda: s.unary(
        pb.SimpleRequest(response_status=status), timeout=SECONDS), message)
    request = output([1])
    request.response_status.CopyFrom(status)
    fails_with(grpc.StatusCode.UNKNOWN, lambda: list(
        s.duplex(iter([request]), timeout=SECONDS)), message)


def status_code_and_message(s):
    fail_both_ways(s, 'test status message')


def special_status_message(s):
    fail_both_ways(s, '\t\ntest with whitespace\r\nand Unicode BMP \u263a and '
                      'non-BMP \U0001f608\t\n')


def unimplemented_method(s):
    fails_with(grpc.StatusCode.UNIMPLEMENTED,
               lambda: s.unimplemented(Empty(), timeout=SECONDS))


def unimplemented_service(s):
    unimplemented_method(s)


def cancel_after_begin(s):
    pipe = Pipe()
    call = s.input.future(iter(pipe), timeout=SECONDS)
    call.cancel()
    same(call.cancelled(), True)
    pipe.close()


def cancel_after_first_response(s):
    pipe = Pipe()
    call = s.duplex(iter(pipe), timeout=SECONDS)
    pipe.put(output([31415], 27182))
    same(len(next(call).payload.body), 31415)
    call.cancel()
    fails_with(grpc.StatusCode.CANCELLED, lambda: next(call))
    pipe.close()


def timeout_on_sleeping_server(s):
    pipe = Pipe()
    call = s.duplex(iter(pipe), timeout=0.3)
    pipe.put(pb.StreamingOutputCallRequest(
        payload=pb.Payload(body=bytes(27182))))
    fails_with(grpc.StatusCode.DEADLINE_EXCEEDED, lambda: next(call))
    pipe.close()


def many_at_once(s):
    faults = []

    def play():
        try:
            ping_pong(s)
        except Exception as error:  # pylint: disable=broad-except
            faults.append(error)

    threads = [threading.Thread(target=play) for _ in range(CALLS_AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    same(faults, [])


def slow_reader(s):
    """Asks for 40 MB, all at once, and reads when all is asked for."""
    asked = threading.Event()

    def requests():
        for _ in range(SLOW_REPLIES):
            yield output([100000], 1000)
        asked.set()

    call = s.duplex(requests(), timeout=SECONDS)
    next(call)
    asked.wait(1)  # it may be held back, and then is not set yet
    same(len(list(call)), SLOW_REPLIES - 1)
    same(asked.is_set(), True)


def main():
    faulthandler.dump_traceback_later(STUCK_SECONDS, exit=True)
    service = SERVICE
    if CASE == 'unimplemented_service':
        service = '/grpc.testing.UnimplementedService/'
    options = [('grpc.max_receive_message_length', -1)]
    with grpc.insecure_channel(ADDRESS, options) as channel:
        globals()[CASE](stub(channel, service))


if __name__ == '__main__':
    main()
