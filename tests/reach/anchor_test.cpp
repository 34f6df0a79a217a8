// SPDX-License-Identifier: Apache-2.0
// What a daemon removes when its configuration points to the wrong place.
#include "content_of.hpp"
#include "e2e_gtest.hpp"
#include "http.hpp"
#include "process.hpp"
#include "run_dir.hpp"
#include "sys/file.hpp"
#include "wait.hpp"

#include <filesystem>
#include <fstream>
#include <string>

#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

using test::contentOf;
namespace fs = std::filesystem;
using namespace std::chrono_literals;

/// Starts a daemon with this control socket; nothing else that it needs exists.
Result<ChildProcess> startWith(const fs::path& folder, const fs::path& socket) {
  for (const char* name : {"cache", "keys", "pods"}) fs::create_directories(folder / name);
  std::ofstream(folder / "fallbackd.yaml")
      << "apiVersion: fallbackd.io/v1\n"
      << "containerd: {socket: " << (folder / "none.sock").string() << "}\n"
      << "cache: {path: " << (folder / "cache").string() << ", keys: " << (folder / "keys").string()
      << ", state: " << (folder / "state").string() << "}\n"
      << "launcher: {runDir: " << (folder / "run").string() << ", kubeletPods: " << (folder / "pods").string()
      << "}\n"
      << "telemetry: {listen: off, socket: " << socket.string() << "}\n";
  return ChildProcess::start({.argv = {binary("fallbackd"), "--config", folder / "fallbackd.yaml"},
                              .env = {},
                              .output = folder / "log"});
}

TEST(Anchor, AFileAtTheControlSocketsPathIsNotRemoved) {
  testing::Test::RecordProperty("item", "3");
  testing::Test::RecordProperty("attack", "telemetry.socket names a file that is not a socket");
  const auto folder = makeRunDir("anchor");
  const auto precious = folder / "precious";
  std::ofstream(precious) << "precious\n";
  E2E_TRY(auto daemon, startWith(folder, precious));
  // It either refuses to start, or listens in the file's place.
  ASSERT_TRUE(waitUntil(30s, [&] { return !daemon.running() || fs::is_socket(precious); }))
      << contentOf(folder / "log");
  EXPECT_EQ(contentOf(precious), "precious\n") << "the daemon removed a file that is not its own";
  EXPECT_FALSE(daemon.running()) << "it runs without reporting that the path is taken";
}

TEST(Anchor, ALeftoverSocketIsReplaced) {
  const auto folder = makeRunDir("anchor");
  const auto socket = folder / "ctl.sock";
  for (int round = 0; round < 2; ++round) {
    E2E_TRY(auto daemon, startWith(folder, socket));
    const bool up = waitUntil(30s, [&] {
      const auto answer = run(
          {.argv = {"curl", "-sS", "--max-time", "5", "--unix-socket", socket, "http://localhost/healthz"},
           .env = {},
           .output = {}});
      return (answer && answer->code == 0) || !daemon.running();
    });
    EXPECT_TRUE(up && daemon.running()) << contentOf(folder / "log");
    daemon.signal(SIGKILL);
    E2E_TRY(const auto code, daemon.wait(10s));
    EXPECT_EQ(code, 128 + SIGKILL);
    EXPECT_TRUE(fs::is_socket(socket)) << "a killed daemon leaves its socket behind";
  }
}

}  // namespace
}  // namespace fallbackd::e2e
