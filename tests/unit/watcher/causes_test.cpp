// SPDX-License-Identifier: Apache-2.0
// Every row of causes.tsv gives its cause, whatever reference it contains.
#include "cause_cases.hpp"
#include "watcher/causes/pull_error.hpp"

#include <cstddef>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace fallbackd::watcher {
namespace {

constexpr const char* kOrdinary = "r.example.com/shop/a:1";

TEST(Causes, EveryRowOfTheTable) {
  const auto rows = causeCases();
  ASSERT_GT(rows.size(), 300U);
  std::set<std::string> names;
  for (const auto& row : rows) {
    EXPECT_TRUE(names.insert(row.name).second) << row.name << " occurs twice";
    EXPECT_EQ(nameOf(causeOf(row, kOrdinary)), nameOf(row.cause))
        << row.name << ": " << expand(row.text, kOrdinary);
  }
}

TEST(Causes, TheReferenceNeedNotBeKnown) {
  for (const auto& row : causeCases()) {
    const auto text = expand(row.text, kOrdinary);
    EXPECT_EQ(nameOf(classify({cri::PullOutcome::Kind::failed, row.code, text})), nameOf(row.cause))
        << row.name << ": " << text;
  }
}

/// Words that decide the cause when they occur where an error occurs.
const std::vector<std::string> kWords{
    "connect: connection refused",
    ": dial tcp 192.0.2.66:443: connect: connection refused",
    "\": dial tcp 192.0.2.66:443: connect: connection refused",
    "\": failed to do request: Head \"https://x/\": EOF",
    "\\\": EOF",
    "\\",
    ": no such host",
    "i/o timeout",
    ": i/o timeout",
    ": EOF",
    "EOF",
    "\nfailed to do request: Head \"https://x/\": dial tcp 192.0.2.66:443: i/o timeout",
    "x\n: not found",
    ": not found",
    "not found",
    ": context deadline exceeded",
    "unexpected status from HEAD request to https://x/: 503 Service Unavailable",
    ": 503 Service Unavailable",
    " failed with status code [manifests 1]: 502 Bad Gateway",
    "]: 502 Bad Gateway",
    " with digest sha256:00 for reason: EOF",
    " locked for 1s: unavailable",
    ": no space left on device",
    ": failed to extract layer sha256:00: ",
    "image verifier x blocked pull of y",
    "x509: certificate signed by unknown authority",
    "://x: EOF",
    "toomanyrequests: ",
    "?ns=x: EOF",
    " - Server message: denied: x",
    "rpc error: code = Unknown desc = EOF",
    "tls: handshake failure",
    "\t: EOF",
    "%22%3A: EOF",
};

/// References that are hostile in the repository, the tag or the host; containerd would split all of them
/// alike.
std::vector<std::string> hostileReferences() {
  std::vector<std::string> all{
      "docker.io/library/nginx:latest",
      "r.example.com/i/o-timeout/no-such-host:1",
      "r.example.com/certs/x509/eof/not-found:404",
      "r.example.com:503/a/503:502",
      "[2001:db8::1]:5000/a@sha256:00aa",
      "r.example.com/a:1@sha256:00aa",
      "connection.refused/a:eof",
  };
  for (const auto& word : kWords) {
    all.push_back("r.example.com/shop/a:1" + word);
    all.push_back("r.example.com/" + word + ":1");
    all.push_back("r.example.com/" + word);
    all.push_back("r.example.com/a@" + word);
    if (word.find('/') == std::string::npos) all.push_back("r.example.com" + word + "/a:1");
  }
  return all;
}

/// Whether the registry is blamed for the failure, not only one image.
bool blamesRegistry(const CauseCase& row, const std::string& reference, Quotes quotes) {
  const auto text = expand(row.text, reference, quotes);
  return readPullError(text, reference).extent == Extent::registry;
}

// A sanitizer makes each try ten times slower, and looks for other faults: a sample is enough for it.
#ifdef FALLBACKD_SANITIZED
constexpr std::size_t kOneIn = 9;
#else
constexpr std::size_t kOneIn = 1;
#endif

void expectNoChange(const std::vector<CauseCase>& rows, const std::vector<std::string>& references) {
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto& row = rows[i];
    const auto usual = causeOf(row, kOrdinary);
    const bool blamesEscaped = blamesRegistry(row, kOrdinary, Quotes::escaped);
    const bool blamesBare = blamesRegistry(row, kOrdinary, Quotes::bare);
    for (std::size_t k = 0; k < references.size(); ++k) {
      if ((i + k) % kOneIn != 0) continue;
      const auto& reference = references[k];
      const bool escaped = (i + k) % 2 == 0;
      const auto quotes = escaped ? Quotes::escaped : Quotes::bare;
      const auto cause = causeOf(row, reference, quotes);
      ASSERT_EQ(nameOf(cause), nameOf(usual)) << row.name << " with " << goQuoted(reference) << ":\n"
                                              << expand(row.text, reference, quotes);
      // A host that no registry can have is not found in the URL; that can only reduce the blame.
      if (escaped ? blamesEscaped : blamesBare) continue;
      ASSERT_FALSE(blamesRegistry(row, reference, quotes)) << row.name << " with " << goQuoted(reference);
    }
  }
}

TEST(Causes, NoHostileReferenceChangesAnything) {
  expectNoChange(causeCases(), hostileReferences());
}

TEST(Causes, NoRandomReferenceChangesAnything) {
  std::mt19937 random(19);
  const auto rows = causeCases();
  const std::string letters = "ab/.:@-_ \"\\\n[](){}=?&%,;<>'";
  std::vector<std::string> references;
  for (int i = 0; i < 60; ++i) {
    std::string reference = "r.example.com/";
    const auto parts = 1 + random() % 6;
    for (std::size_t part = 0; part < parts; ++part) {
      if (random() % 2 == 0) {
        reference += kWords[random() % kWords.size()];
      } else {
        for (std::size_t n = random() % 8; n > 0; --n) reference += letters[random() % letters.size()];
      }
    }
    references.push_back(reference);
  }
  expectNoChange(rows, references);
}

/// The beginnings of words that are neither quoted nor part of a URL: a Go program can have written `%q`
/// there.
std::vector<std::size_t> wordStarts(const std::string& text) {
  std::vector<std::size_t> starts{0};
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\') {
      ++i;
    } else if (text[i] == '"') {
      quoted = !quoted;
    } else if (text[i] == ' ' && !quoted) {
      starts.push_back(i + 1);
    }
  }
  return starts;
}

/// containerd's own messages have the reference where the rows have their marks. The next version may write
/// it elsewhere: quoted, it must not count anywhere.
TEST(Causes, NoQuotedReferenceAnywhereChangesAnything) {
  const auto rows = causeCases();
  const auto hostile = hostileReferences();
  std::size_t next = 0;
  std::size_t tried = 0;
  for (const auto& row : rows) {
    const auto text = expand(row.text, kOrdinary);
    for (const auto at : wordStarts(text)) {
      const auto with = [&](const std::string& reference) {
        auto said = text;
        said.insert(at, goQuoted(reference) + " ");
        return said;
      };
      const auto causeWith = [&](const std::string& reference) {
        return nameOf(classify({cri::PullOutcome::Kind::failed, row.code, with(reference)}, kOrdinary));
      };
      const auto usual = causeWith(kOrdinary);
      for (int k = 0; k < 5; ++k, ++tried) {
        const auto& reference = hostile[next++ % hostile.size()];
        ASSERT_EQ(causeWith(reference), usual) << row.name << ":\n" << with(reference);
      }
    }
  }
  EXPECT_GT(tried, 10'000U);
}

/// The same with URLs, as for layers and tokens: a registry can redirect to any URL.
TEST(Causes, NoUrlAnywhereChangesAnything) {
  const auto rows = causeCases();
  const std::vector<std::string> hostile{"https://eof/no-such-host?x=i/o-timeout",
                                         "http://h:503/v2/connect:/connection-refused",
                                         "https://h/a%3A%20EOF",
                                         "https://h/?scope=repository:x:pull&service=EOF",
                                         "https://h/dial/tcp/192.0.2.7:443/x509:unknown",
                                         "https://[2001:db8::1]:443/tls:/toomanyrequests:x"};
  for (const auto& row : rows) {
    const auto text = expand(row.text, kOrdinary);
    for (const auto at : wordStarts(text)) {
      const auto causeWith = [&](const std::string& url) {
        auto said = text;
        said.insert(at, url + " ");
        return nameOf(classify({cri::PullOutcome::Kind::failed, row.code, said}, kOrdinary));
      };
      const auto usual = causeWith("https://r.example.com/v2/a");
      for (const auto& url : hostile)
        ASSERT_EQ(causeWith(url), usual) << row.name << " at " << at << ": " << url;
    }
  }
}

TEST(Causes, TheTextOfAServerChangesNothing) {
  const std::vector<std::string> texts{
      R"({resolve}unexpected status from GET request to {url}: 403 Forbidden - Server message: denied: WORDS)",
      R"({open}unexpected status code {rawblob}: 403 Forbidden - Server message: unknown: WORDS)",
      "{image}unexpected status from GET request to {url}: 403 Forbidden\ndenied: WORDS",
      "{image}unexpected status from GET request to {url}: 403 Forbidden\nerrors:\nunknown: WORDS\n",
      "{resolve}unexpected status from HEAD request to {url}: 403 WORDS",
      "{resolve}server message: WORDS: authorization failed",
      "{resolve}denied: WORDS",
  };
  for (const auto& text : texts) {
    for (const auto& words : kWords) {
      auto said = expand(text, kOrdinary);
      const auto header = text.find("403 WORDS") != std::string::npos ||
                          text.find("message: WORDS: auth") != std::string::npos;
      if (header && words.find('\n') != std::string::npos) continue;  // headers cannot contain line breaks
      said.replace(said.find("WORDS"), 5, words);
      EXPECT_EQ(nameOf(classify({cri::PullOutcome::Kind::failed, 2, said}, kOrdinary)), "unauthorized")
          << said;
    }
  }
}

/// A manifest can name any host for its layers, and a registry can redirect to any host.
TEST(Causes, OnlyTheRegistrysOwnHostShowsThatTheRegistryIsDown) {
  struct Row {
    Extent extent;
    std::string text;
    std::string reference = kOrdinary;
  };
  const std::string refused = "dial tcp 192.0.2.7:443: connect: connection refused";
  const auto get = [&](const std::string& url) {
    return R"({open}failed to do request: Get ")" + url + "\": " + refused;
  };
  const std::vector<Row> rows{
      {Extent::registry, "{head}" + refused},
      {Extent::registry, "{head2}EOF"},
      {Extent::registry, "{resolve}{mirror}EOF"},
      {Extent::registry, "{image}{mirror}EOF\nfailed to do request: Head \"{url}\": " + refused},
      {Extent::registry, "{token}" + refused},
      {Extent::registry,
       "{open}failed to authorize: failed to fetch anonymous token: Get \"https://x/\": EOF"},
      {Extent::registry, "{blob}" + refused},
      {Extent::registry, get("https://r.example.com:443/v2/shop/a/blobs/sha256:00aa")},
      {Extent::registry, get("https://r.example.com/v2/a"), "r.example.com:443/a:1"},
      {Extent::registry, get("http://[2001:db8::7]:80/v2/a"), "[2001:db8::7]/a:1"},
      {Extent::registry, get("https://registry-1.docker.io/v2/a"), "docker.io/shop/a:1"},
      {Extent::one_image, get("https://store.example.com/v2/shop/a/blobs/sha256:00aa")},
      {Extent::one_image, get("https://r.example.com:1/x")},
      {Extent::one_image, get("http://r.example.com:443/x"), "r.example.com/a:1"},
      {Extent::one_image, get("https://r.example.com:***@store.example.com/x")},
      {Extent::one_image, get("https://store.example.com/r.example.com/x")},
      {Extent::one_image, get("https://store.example.com?@r.example.com/x")},
      {Extent::one_image, "{copy}read tcp 192.0.2.1:40000->192.0.2.7:443: read: connection reset by peer"},
      {Extent::one_image, "{copy}unexpected EOF"},
  };
  for (const auto& row : rows) {
    const auto text = expand(row.text, row.reference);
    const auto error = readPullError(text, row.reference);
    EXPECT_EQ(nameOf(error.cause), "unreachable") << text;
    EXPECT_EQ(error.extent == Extent::registry, row.extent == Extent::registry) << text;
  }
}

TEST(Causes, LongTextsEnd) {
  std::string text = "failed to pull and unpack image \"a\": ";
  for (int i = 0; i < 20000; ++i) text += i % 3 == 0 ? "x: " : i % 3 == 1 ? "\"y\n" : "https://z/: ";
  EXPECT_EQ(nameOf(classify({cri::PullOutcome::Kind::failed, 2, text}, "a")), "unknown");
}

TEST(Causes, AnUnknownCauseIsDescribed) {
  const auto words = [](const std::string& text) {
    return describe(readPullError(expand(text, kOrdinary), kOrdinary));
  };
  EXPECT_EQ(words("{extract}mount callback failed on /x: archive/tar: invalid tar header: unknown"),
            "extract: invalid tar header");
  EXPECT_EQ(words("{pull}failed commit on ref \"a\": unexpected commit digest sha256:1, expected sha256:2: "
                  "failed precondition"),
            "commit: unexpected commit digest sha256:1, expected sha256:2");
  EXPECT_EQ(words("{head}something new"), "request: something new");
  EXPECT_EQ(words("something new"), "pull: something new");
}

}  // namespace
}  // namespace fallbackd::watcher
