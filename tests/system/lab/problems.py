"""What every refusal must carry (contract section 8); shared by demo and tests."""

FIELDS = ("type", "title", "status", "detail", "code", "retryable", "retry_after_ms", "hint",
          "alternatives", "service", "tool", "attempts", "budget", "trace_id", "fault")


def wrong_with(reply, status, code, challenge=False, retry_after=False, task=True):
    """Everything that is wrong with a refusal; empty when nothing is."""
    problems = []
    if reply.status != status:
        problems.append(f"status {reply.status}, expected {status} {reply.error}")
    kind = reply.headers.get("content-type", "")
    if not kind.startswith("application/problem+json"):
        return problems + [f"content-type {kind!r}, expected application/problem+json"]
    try:
        record = reply.json()
    except ValueError as error:
        return problems + [f"body is not JSON: {error}"]
    fields = FIELDS + (("task",) if task else ())
    problems += [f"field {field} is missing" for field in fields if field not in record]
    expected = {"type": f"urn:sluice:error:{code}", "code": code, "status": status}
    problems += [f"{key} is {record.get(key)!r}, expected {value!r}"
                 for key, value in expected.items() if record.get(key) != value]
    if record.get("fault") not in ("agent", "policy", "service"):
        problems.append(f"fault is {record.get('fault')!r}")
    if record.get("retryable") and "retry_after_ms" not in record:
        problems.append("retryable without retry_after_ms")
    proxy_status = reply.headers.get("proxy-status", "")
    if not proxy_status.startswith("sluice") or f'"{code}"' not in proxy_status:
        problems.append(f"Proxy-Status is {proxy_status!r}")
    if reply.headers.get("cache-control") != "no-store":
        problems.append("Cache-Control is not no-store")
    if challenge and "www-authenticate" not in reply.headers:
        problems.append("WWW-Authenticate is missing")
    if retry_after and not reply.headers.get("retry-after", "").isdigit():
        problems.append(f"Retry-After is {reply.headers.get('retry-after')!r}")
    return problems


def assert_refused(reply, status, code, **what):
    wrong = wrong_with(reply, status, code, **what)
    assert not wrong, f"{wrong}\n{reply}"
