// SPDX-License-Identifier: Apache-2.0
// No containerd offers HTTP/2 to a registry, so its error texts come from a client with the same libraries: a
// Go program that talks to a failing server. The parser must recognise each text.
#include "http2_server.hpp"
#include "shell.hpp"
#include "temp_folder.hpp"
#include "watcher/causes/pull_error.hpp"

#include <filesystem>
#include <string>

#include <gtest/gtest.h>

namespace fallbackd::watcher {
namespace {

using e2e::Http2Fault;
using e2e::Http2Server;
using namespace std::chrono_literals;

constexpr const char* kReference = "r.example.com/shop/a:1";
const std::string kPulling = "failed to pull and unpack image \"r.example.com/shop/a:1\": ";
const std::string kResolving =
    "failed to resolve reference \"r.example.com/shop/a:1\": failed to do request: ";
const std::string kCopying = "failed to copy: httpReadSeeker: failed open: failed to do request: ";

struct Row {
  const char* name;
  Http2Fault fault;
};
const Row kRows[] = {
    {"GOAWAY", Http2Fault::goaway},
    {"GOAWAY with words", Http2Fault::goaway_calm},
    {"GOAWAY within the body", Http2Fault::goaway_within_body},
    {"RST_STREAM", Http2Fault::reset_stream},
    {"RST_STREAM within the body", Http2Fault::reset_within_body},
    {"the end of the connection", Http2Fault::closes},
};

class Http2TextsTest : public testing::Test {
 protected:
  [[nodiscard]] std::string path(const std::string& name) const { return folder_.path() + "/" + name; }

  void build() {
    if (test::shell("command -v go").code != 0) GTEST_SKIP() << "no go; see scripts/install-deps";
    const auto built = test::shell("cd " + folder_.path() + " && export HOME=$PWD GOCACHE=$PWD/cache " +
                                   "GOPATH=$PWD/path GOPROXY=off CGO_ENABLED=0 && go build -o client " +
                                   HTTP2_CLIENT_SOURCE);
    ASSERT_EQ(built.code, 0) << built.text;
  }

  test::TempFolder folder_;
};

TEST_F(Http2TextsTest, EveryFaultIsClassifiedAsAnOutage) {
  build();
  if (IsSkipped() || HasFatalFailure()) return;
  const auto identity = e2e::makeCertificate(std::chrono::system_clock::now() + 1h);
  ASSERT_TRUE(identity);
  folder_.write("ca.pem", identity->text);
  for (const auto& row : kRows) {
    const auto server = Http2Server::start(row.fault, *identity);
    ASSERT_TRUE(server) << server.error().message();
    const bool ofBody =
        row.fault == Http2Fault::goaway_within_body || row.fault == Http2Fault::reset_within_body;
    for (const std::string method : {"HEAD", "GET"}) {
      if (ofBody && method == "HEAD") continue;
      // Go's libraries log to stderr.
      const auto said = test::shell(path("client") + " " + path("ca.pem") + " " + method + " https://" +
                                    (*server)->address() + "/v2/a 2>/dev/null");
      ASSERT_EQ(said.code, 0) << said.text;
      ASSERT_TRUE((*server)->offered()) << row.name;
      const auto error = said.text.substr(0, said.text.find('\n'));
      std::printf("  %-26s %s\n", row.name, error.c_str());
      const auto read =
          readPullError(kPulling + (method == "HEAD" ? kResolving : kCopying) + error, kReference);
      EXPECT_EQ(read.cause, Cause::unreachable) << row.name << ": " << error;
    }
  }
}

}  // namespace
}  // namespace fallbackd::watcher
