// SPDX-License-Identifier: Apache-2.0
#include "contenders.hpp"

#include "http.hpp"
#include "image.hpp"
#include "process.hpp"
#include "run_dir.hpp"
#include "sys/file.hpp"
#include "wait.hpp"

#include <atomic>
#include <fstream>
#include <future>
#include <memory>
#include <optional>
#include <thread>

#include <boost/json.hpp>

namespace fallbackd::bench {

using namespace std::chrono_literals;
using namespace fallbackd::e2e;
namespace fs = std::filesystem;
namespace json = boost::json;

namespace {

constexpr auto kStartLimit = 30s;
constexpr auto kKnock = 100us;

/// Runs a command to its end and shows its output only if it fails. A detached server keeps writing to its
/// file.
Result<> command(std::vector<std::string> argv) {
  const auto output = logFile("contender");
  FB_TRY(auto process, ChildProcess::start({.argv = argv, .env = {}, .output = output}));
  FB_TRY(const auto code, process.wait(kStartLimit));
  if (code == 0) return {};
  const auto said = sys::readFile(Stage::cli, output, 1 << 20).value_or("");
  return fail(Stage::cli, Reason::system,
              argv[0] + " exited with " + std::to_string(code) + ": " +
                  said.substr(said.size() - std::min<std::size_t>(said.size(), 500)));
}

std::string portArgument(std::uint16_t port) {
  return "--port=" + std::to_string(port);
}

/// The output of `runc spec`, changed to run the program without a terminal, in the existing network.
Result<> writeBundle(const fs::path& bundle, const fs::path& program, std::uint16_t port) {
  FB_CHECK(sys::makeDirs(Stage::cli, bundle / "rootfs" / "bin", 0755));
  std::error_code error;
  fs::copy_file(program, bundle / "rootfs" / "bin" / "checkout", error);
  if (error) return fail(Stage::cli, Reason::system, "copy " + program.string(), error.value());
  FB_CHECK(command({"runc", "spec", "--bundle", bundle}));
  FB_TRY(const auto text, sys::readFile(Stage::cli, bundle / "config.json", 1 << 20));
  auto spec = json::parse(text).as_object();
  auto& process = spec.at("process").as_object();
  process["terminal"] = false;
  process["args"] = {"/bin/checkout", portArgument(port)};
  auto& namespaces = spec.at("linux").as_object().at("namespaces").as_array();
  json::array kept;
  for (const auto& one : namespaces) {
    if (one.at("type").as_string() != "network") kept.push_back(one);
  }
  namespaces = std::move(kept);
  std::ofstream(bundle / "config.json") << json::serialize(spec);
  return {};
}

}  // namespace

Result<double> timeOnce(const Contender& contender) {
  std::atomic<bool> givenUp{false};
  std::promise<Stamp> heard;
  auto accepted = heard.get_future();
  std::thread knocker([&] {
    while (!givenUp) {
      if (accepts(contender.ip, contender.port)) {
        heard.set_value(Monotonic::now());
        return;
      }
      std::this_thread::sleep_for(kKnock);
    }
  });
  const auto called = Monotonic::now();
  const auto started = contender.start();
  const bool listens = started && accepted.wait_for(kStartLimit) == std::future_status::ready;
  givenUp = true;
  knocker.join();
  FB_CHECK(contender.stop());
  if (!started) return tl::unexpected<Error>(started.error());
  if (!listens) return fail(Stage::readiness, Reason::timeout, contender.name);
  if (!waitUntil(kStartLimit, [&] { return !accepts(contender.ip, contender.port); })) {
    return fail(Stage::run, Reason::timeout, contender.name + " does not stop");
  }
  return toMillis(accepted.get() - (contender.began ? contender.began() : called));
}

Contender bareSpawn(const fs::path& program, std::uint16_t port) {
  auto server = std::make_shared<std::optional<ChildProcess>>();
  Contender bare{.name = "posix_spawn: health check, server", .port = port, .start = {}, .stop = {}};
  bare.start = [=]() -> Result<> {
    FB_CHECK(command({program, "--health-check"}));
    FB_TRY(auto process,
           ChildProcess::start(
               {.argv = {program, portArgument(port)}, .env = {}, .output = logFile("contender")}));
    server->emplace(std::move(process));
    return {};
  };
  bare.stop = [server]() -> Result<> {
    server->reset();
    return {};
  };
  return bare;
}

Result<Contender> runcRun(const fs::path& program, const fs::path& folder, std::uint16_t port) {
  const fs::path bundle = folder / "bundle";
  FB_CHECK(writeBundle(bundle, program, port));
  const std::string state = folder / "state";
  Contender runc{.name = "runc run: server", .port = port, .start = {}, .stop = {}};
  runc.start = [=]() -> Result<> {
    return command({"runc", "--root", state, "run", "--detach", "--bundle", bundle, "bench"});
  };
  runc.stop = [=]() -> Result<> { return command({"runc", "--root", state, "delete", "--force", "bench"}); };
  return runc;
}

Result<Contender> ctrRun(const ContainerdNode& node, const fs::path& program, std::uint16_t port) {
  const Image image{.reference = "localhost/bench/checkout:1",
                    .files = {{"bin/checkout", program}},
                    .entrypoint = {"/bin/checkout"},
                    .env = {}};
  const auto archive = makeRunDir("bench-image") / "image.tar";
  FB_CHECK(writeOciArchive(image, archive));
  FB_CHECK(node.importImage(archive, image.reference));
  Contender ctr{.name = "ctr run: server", .port = port, .start = {}, .stop = {}};
  ctr.start = [=, &node]() -> Result<> {
    FB_CHECK(node.ctr({"run", "--detach", "--null-io", "--net-host", image.reference, "bench",
                       "/bin/checkout", portArgument(port)}));
    return {};
  };
  ctr.stop = [&node]() -> Result<> {
    FB_CHECK(node.ctr({"task", "rm", "--force", "bench"}));
    FB_CHECK(node.ctr({"container", "rm", "bench"}));
    return {};
  };
  return ctr;
}

}  // namespace fallbackd::bench
