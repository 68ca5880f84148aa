"""What every refusal must carry (contract section 8); shared by demo and tests."""

import re

# code: fault, may a retry help (contract section 8)
FACTS = {
    "token_missing": ("agent", False), "token_invalid": ("agent", False),
    "token_expired": ("agent", True), "token_revoked": ("policy", False),
    "scope_insufficient": ("policy", False), "segment_forbidden": ("policy", False),
    "tool_unknown": ("agent", False), "service_unknown": ("agent", False),
    "request_invalid": ("agent", False), "request_too_large": ("agent", False),
    "dns_failed": ("service", True), "connect_failed": ("service", True),
    "upstream_tls_failed": ("service", True), "upstream_reset": ("service", True),
    "upstream_protocol": ("service", True), "response_too_large": ("service", True),
    "dns_timeout": ("service", True), "connect_timeout": ("service", True),
    "step_timeout": ("service", True),
}
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
    fault, retryable = FACTS[code]
    if record.get("fault") != fault or record.get("retryable") is not retryable:
        problems.append(f"fault {record.get('fault')!r}, retryable {record.get('retryable')!r}; "
                        f"expected {fault}, {retryable}")
    if (record.get("retry_after_ms") is not None) != ("retry-after" in reply.headers):
        problems.append(f"retry_after_ms {record.get('retry_after_ms')!r}, but "
                        f"Retry-After {reply.headers.get('retry-after')!r}")
    if not re.fullmatch("[0-9a-f]{32}", str(record.get("trace_id"))):
        problems.append(f"trace_id is {record.get('trace_id')!r}")
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
