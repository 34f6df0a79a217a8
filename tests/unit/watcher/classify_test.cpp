// SPDX-License-Identifier: Apache-2.0
#include "watcher/classify.hpp"

#include <gtest/gtest.h>

namespace fallbackd::watcher {
namespace {

struct Row {
  const char* name;
  int code;
  const char* text;
  std::optional<Cause> expected;
};

// Texts of containerd 1.6, 1.7 and 2.x around the words that decide.
const Row kRows[] = {
    {"refused", 2,
     "failed to pull and unpack image \"r:1/a:1\": failed to resolve reference \"r:1/a:1\": failed to do "
     "request: "
     "Head \"http://r:1/v2/a/manifests/1\": dial tcp 127.0.0.1:1: connect: connection refused",
     Cause::unreachable},
    {"no route", 2,
     "failed to do request: Head \"https://r/v2/\": dial tcp 10.0.0.9:443: connect: no route to host",
     Cause::unreachable},
    {"reset", 2, "failed to do request: read tcp 10.0.0.1:1->10.0.0.2:443: read: connection reset by peer",
     Cause::unreachable},
    {"nxdomain", 2, "failed to do request: dial tcp: lookup r.invalid on 10.0.0.10:53: no such host",
     Cause::dns},
    {"dns silent", 2,
     "failed to do request: dial tcp: lookup r on 10.0.0.10:53: read udp 10.0.0.1:5: i/o timeout",
     Cause::dns},
    {"black hole", 2, "failed to do request: Head \"https://r/v2/\": dial tcp 10.0.0.9:443: i/o timeout",
     Cause::timeout},
    {"deadline", 4, "failed to pull and unpack image: context deadline exceeded", Cause::timeout},
    {"silent peer, 1.7.0", 1, "failed to pull and unpack image: context canceled", Cause::timeout},
    {"handshake", 2, "failed to do request: net/http: TLS handshake timeout", Cause::timeout},
    {"certificate", 2,
     "failed to do request: tls: failed to verify certificate: x509: certificate signed by unknown",
     Cause::tls},
    {"404", 5, "failed to resolve reference \"r/a:1\": r/a:1: not found", Cause::not_found},
    {"404 in text only", 2, "failed to resolve image: r/a:1: not found", Cause::not_found},
    {"502 on 1.6", 2, "pulling from host r:5000 failed with status code [manifests 1.8.3]: 502 Bad Gateway",
     Cause::server_error},
    {"503 from 1.7", 2,
     "failed to resolve: unexpected status from HEAD request to http://127.0.0.1:5000/v2/a/manifests/1: 503 "
     "Service "
     "Unavailable",
     Cause::server_error},
    {"429", 2, "unexpected status from HEAD request to https://r:443/v2/a: 429 Too Many Requests",
     Cause::rate_limited},
    {"401", 2, "pulling from host r failed with status code [manifests 1]: 401 Unauthorized",
     Cause::unauthorized},
    {"403", 2, "unexpected status from HEAD request to https://r/v2/a: 403 Forbidden", Cause::unauthorized},
    {"denied", 2,
     "pull access denied, repository does not exist or may require authorization: authorization failed",
     Cause::unauthorized},
    {"token server refuses connections", 2,
     "failed to authorize: failed to fetch anonymous token: Get \"https://t/token\": dial tcp 1.2.3.4:443: "
     "connect: "
     "connection refused",
     Cause::unreachable},
    {"token server says 503", 2,
     "failed to authorize: failed to fetch oauth token: unexpected status from GET request to "
     "https://t/token: 503 "
     "Service Unavailable",
     Cause::server_error},
    {"token server says 401", 2,
     "failed to authorize: failed to fetch oauth token: unexpected status from GET request to "
     "https://t/token: 401 "
     "Unauthorized",
     Cause::unauthorized},
    {"verifier", 2, "image verifier cosign blocked pull of r/a:1 with digest sha256:00 for reason: unsigned",
     Cause::policy},
    {"disk", 2, "failed to extract layer: write /var/lib/x: no space left on device", Cause::disk},
    {"wrong digest", 2,
     "failed commit on ref \"layer-sha256:1\": unexpected commit digest sha256:2, expected sha256:1",
     Cause::unknown},
    {"no CRI plugin", 12, "unknown service runtime.v1.ImageService", Cause::unknown},
    {"containerd is away", 14,
     "failed to connect to all addresses; last error: UNKNOWN: unix:/run/c.sock: Connection "
     "refused",
     std::nullopt},
    {"containerd went away", 14, "Socket closed", std::nullopt},
};

TEST(Classify, EveryCauseByItsText) {
  for (const auto& row : kRows) {
    const cri::PullOutcome outcome{cri::PullOutcome::Kind::failed, row.code, row.text};
    EXPECT_EQ(classify(outcome), row.expected) << row.name;
  }
}

// containerd 1.x reports the failure of the first host that it queried, whatever the registry answered
// afterwards.
TEST(Classify, NobodyAtTheMirrorsAddressIsNotAnOutageOfTheRegistry) {
  const auto causeOf = [](const std::string& host, const std::string& end) {
    const cri::PullOutcome outcome{cri::PullOutcome::Kind::failed, 2,
                                   "failed to pull and unpack image \"r/a:1\": failed to resolve reference "
                                   "\"r/a:1\": failed to do request: "
                                   "Head \"http://" +
                                       host + "/v2/a/manifests/1?ns=r\": " + end};
    return readFailure(outcome, "r/a:1", {"127.0.0.1:478", "[::1]:9478"})->cause;
  };
  const std::string refused = "dial tcp 127.0.0.1:478: connect: connection refused";
  EXPECT_EQ(causeOf("127.0.0.1:478", refused), Cause::unknown);
  EXPECT_EQ(causeOf("127.0.0.1:478", "EOF"), Cause::unknown) << "the daemon ended during a request";
  EXPECT_EQ(causeOf("[::1]:9478", "dial tcp [::1]:9478: connect: connection refused"), Cause::unknown);
  EXPECT_EQ(causeOf("127.0.0.1:479", "dial tcp 127.0.0.1:479: connect: connection refused"),
            Cause::unreachable);
  EXPECT_EQ(causeOf("r:443", "dial tcp 10.0.0.9:443: connect: connection refused"), Cause::unreachable);
  const cri::PullOutcome answered{cri::PullOutcome::Kind::failed, 2,
                                  "failed to resolve: unexpected status from HEAD request to "
                                  "http://127.0.0.1:478/v2/a/manifests/1?ns=r: 502 Bad Gateway"};
  EXPECT_EQ(readFailure(answered, "r/a:1", {"127.0.0.1:478"})->cause, Cause::server_error)
      << "it answered: the registry is down";
}

}  // namespace
}  // namespace fallbackd::watcher
