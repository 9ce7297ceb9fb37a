"""Kernels that read words and numbers of a text, byte by byte; each returns the index after what it reads, -1 if it is not there."""

import numpy as np

from hwmodel.jit import part

NEWLINE, RETURN, SPACE, COMMA, MINUS, ZERO, UNDERSCORE, X = 10, 13, 32, 44, 45, 48, 95, 120
DIGITS = np.full(256, -1, np.int64)
"""The value of each character as a hexadecimal digit, -1 for others: a table is quicker than questions where each line is an access."""
DIGITS[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)
NONE = -1
MOST_DIGITS, MOST_HEX, WHOLE = 18, 15, 16
"""Digits of numbers that fit in 63 bits; hexadecimal ones of 64."""


@part
def after(text, at, word):
    """Return the index after a word, -1 if it is not there."""
    if at < 0:
        return NONE
    for k in range(word.size):
        if text[at + k] != word[k]:
            return NONE
    return at + word.size


@part
def after_0x(text, at):
    """Return the index after 0x, or the same if it is not there."""
    if at < 0:
        return NONE
    return at + 2 if text[at] == ZERO and text[at + 1] == X else at


@part
def signed(text, at, p):
    """Read a decimal number that may be negative; return the index after it, -1 if there is none of a usual length."""
    if at < 0:
        return NONE
    minus = text[at] == MINUS
    at = digits(text, at + 1 if minus else at, p)
    p.value = -p.value if minus else p.value
    return at


@part
def digits(text, at, p):
    """Read a decimal number; return the index after it, -1 if there is none of a usual length."""
    if at < 0:
        return NONE
    begin = at
    value = np.int64(0)
    while is_digit(text[at]) and at - begin < MOST_DIGITS:
        value = value * 10 + (np.int64(text[at]) - ZERO)
        at += 1
    p.value = value
    return at if at > begin and not is_digit(text[at]) else NONE


@part
def digits_before(text, at, first, p):
    """Read the decimal number that ends at an index; return the index before it, -1 if there is none of a usual length."""
    end = at
    value, factor = np.int64(0), np.int64(1)
    while at > first and is_digit(text[at]) and end - at < MOST_DIGITS:
        value += factor * (np.int64(text[at]) - ZERO)
        factor *= 10
        at -= 1
    p.value = value
    return at if at < end and not is_digit(text[at]) else NONE


@part
def hexadecimal(text, at, p, most):
    """Read a hexadecimal number of at most so many digits; one of 16 may be negative."""
    if at < 0:
        return NONE
    begin = at
    value = np.int64(0)
    while at - begin <= most:
        byte = np.int64(text[at])
        if byte >= ZERO and byte <= ZERO + 9:
            value = value << 4 | byte - ZERO
        elif byte >= 97 and byte <= 102:
            value = value << 4 | byte - 87
        else:
            break
        at += 1
    p.value = value
    return at if at > begin and at - begin <= most else NONE


@part
def skip(text, at):
    """Return the index of the first byte from here on that is no blank."""
    while text[at] == SPACE:
        at += 1
    return at


@part
def back(text, at):
    """Return the index of the last byte up to here that is no blank."""
    while text[at] == SPACE:
        at -= 1
    return at


@part
def is_digit(byte):
    """Return whether a byte is a decimal digit."""
    return byte >= ZERO and byte <= ZERO + 9


@part
def is_word(byte):
    """Return whether a byte may be in a name."""
    return (byte >= ZERO and byte <= ZERO + 9) or (byte >= 65 and byte <= 90) or byte == UNDERSCORE or (byte >= 97 and byte <= 122)
