"""The qmail-send bounce message format, read by nothing but its rules: the body begins with `Hi. This is
the`; paragraphs end with an empty line; one that begins with `<` is a recipient's, one that begins with `-`
is the break, and all behind it is the letter that failed. Paragraphs that begin otherwise say nothing."""

INTRO = b"Hi. This is the"


class NotQSBMF(Exception):
    """The body is something else."""


def paragraphs(body):
    """The paragraphs, each without its last line end, and where the next begins."""
    at = 0
    while True:
        while body.startswith(b"\n", at):
            at += 1  # a report may end in an empty line of its own
        end = body.find(b"\n\n", at)
        if end < 0:
            raise NotQSBMF("no break paragraph")
        yield body[at:end], end + 2
        at = end + 2


def read(body):
    """(recipient, report) for each recipient, the break paragraph, and the original."""
    if not body.startswith(INTRO):
        raise NotQSBMF(f"begins with {body[:40]!r}")
    recipients = []
    found = paragraphs(body)
    next(found)
    for paragraph, end in found:
        if paragraph.startswith(b"-"):
            return recipients, paragraph, body[end:]
        if paragraph.startswith(b"<"):
            address, _, report = paragraph.partition(b"\n")
            if not address.endswith(b">:"):
                raise NotQSBMF(f"a recipient that is none: {address!r}")
            recipients.append((address[1:-2], report))


def read_letter(letter):
    """The same of a whole letter whose reader does not know MIME."""
    return read(letter.partition(b"\n\n")[2])
