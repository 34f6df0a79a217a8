// SPDX-License-Identifier: Apache-2.0
// The main task, end to end: real containerd, runc, CNI, registry, kernel; the built fallbackd.
#include "base/strings.hpp"
#include "content_of.hpp"
#include "e2e_gtest.hpp"
#include "process.hpp"
#include "run_dir.hpp"
#include "shop.hpp"
#include "sys/file.hpp"
#include "sys/process.hpp"
#include "wait.hpp"

#include <array>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sys/inotify.h>
#include <thread>
#include <unistd.h>

#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

using test::contentOf;
namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::HasSubstr;

/// The value of a line in /proc/PID/status, trimmed.
std::string statusLine(pid_t pid, const std::string& key) {
  const auto text = contentOf("/proc/" + std::to_string(pid) + "/status");
  const auto at = text.find("\n" + key + ":");
  if (at == std::string::npos) return "(none)";
  const auto begin = at + key.size() + 2;
  return std::string(trim(std::string_view(text).substr(begin, text.find('\n', begin) - begin)));
}

bool runs(pid_t pid) {
  return pid > 0 && fs::exists("/proc/" + std::to_string(pid));
}

class RecoveryE2e : public testing::Test {
 protected:
  void open(const ShopOptions& options = {}) { E2E_TRY(shop_, Shop::open(options)); }
  /// Starts a pod and waits until its fallback answers.
  void recover(const std::string& name, Pod& pod) {
    E2E_TRY(pod, shop_->kubelet->startPod(checkoutPod(name)));
    E2E_TRY(const auto answer, httpGetOk(pod.ip, Shop::kPort, "/", kCeiling));
    ASSERT_THAT(answer.body, HasSubstr("role=fallback"));
    ASSERT_TRUE(waitUntil(kCeiling, [&] { return recoveryState(*shop_->daemon, name) == "ready"; }));
  }
  [[nodiscard]] double metric(const std::string& prefix, const std::string& part = "") const {
    const auto metrics = shop_->daemon->metrics();
    return metrics ? sumOf(*metrics, prefix, part) : -1;
  }
  /// Waits until the daemon has probed for the waiting pod `times` more.
  bool probedAgain(const std::string& result, int times = 2) {
    const auto name = "fallbackd_probe_pulls_total{result=\"" + result + "\"}";
    const auto before = metric(name);
    return waitUntil(kCeiling, [&] { return metric(name) >= before + times; });
  }

  std::unique_ptr<Shop> shop_;
};

TEST_F(RecoveryE2e, DeadRegistryFallbackServesThenContainerTakesOver) {
  open();
  Pod pod;
  recover("web-0", pod);

  // It runs where a container of the pod would run, and nowhere else.
  const pid_t pid = fallbackPid(*shop_->daemon, "web-0");
  ASSERT_TRUE(runs(pid));
  for (const char* kind : {"net", "ipc", "uts"}) {
    EXPECT_EQ(namespaceLink(pid, kind), namespaceLink(pod.pausePid, kind)) << kind;
  }
  for (const char* kind : {"net", "ipc", "uts", "pid", "mnt"}) {
    EXPECT_NE(namespaceLink(pid, kind), namespaceLink(shop_->daemon->pid(), kind)) << kind;
  }
  EXPECT_NE(namespaceLink(pid, "pid"), namespaceLink(pod.pausePid, "pid"));
  EXPECT_THAT(contentOf("/proc/" + std::to_string(pid) + "/cgroup"),
              HasSubstr(pod.cgroupParent + "/fallback-checkout"));
  EXPECT_EQ(statusLine(pid, "Uid"), "65532\t65532\t65532\t65532");
  EXPECT_EQ(statusLine(pid, "Gid"), "65533\t65533\t65533\t65533");
  for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"}) {
    EXPECT_EQ(statusLine(pid, set), "0000000000000000") << set;
  }
  EXPECT_EQ(statusLine(pid, "NoNewPrivs"), "1");
  EXPECT_EQ(statusLine(pid, "Seccomp"), "2");
  EXPECT_THAT(contentOf(pod.logDirectory / "checkout-fallback" / "0.log"), HasSubstr(" stdout F "));

  // From outside: metrics by phase and cause, and status for people.
  EXPECT_EQ(metric("fallbackd_recovery_seconds_count", "checkout"), 1);
  for (const char* phase : {"detect", "verify", "health_check", "exec", "ready"}) {
    EXPECT_EQ(metric("fallbackd_recovery_phase_seconds_count", "phase=\"" + std::string(phase) + "\""), 1)
        << phase;
  }
  EXPECT_EQ(metric("fallbackd_active_fallbacks", "checkout"), 1);
  EXPECT_EQ(metric("fallbackd_workload_binary_admitted", "checkout@1.8.3"), 1);
  E2E_TRY(const auto status,
          runOk({.argv = {binary("fallbackctl"), "status", "--socket", shop_->daemon->controlSocket()},
                 .env = {},
                 .output = {}}));
  EXPECT_THAT(status, HasSubstr("web-0"));
  EXPECT_THAT(status, HasSubstr("unreachable"));

  // The registry returns. kubelet pulls the image and starts the real container.
  E2E_CHECK(shop_->registry.start());
  E2E_TRY(const auto reference,
          shop_->registry.pushImage("shop/checkout:1.8.3", testProgram("shop-httpd-1.8.3")));
  const auto pulled = shop_->kubelet->pullImage(reference);
  ASSERT_TRUE(pulled.ok()) << pulled.text;
  EXPECT_TRUE(runs(pid)) << "it serves until the container is created";
  E2E_TRY(const auto id, shop_->kubelet->createContainer(pod, shop_->containerSpec()));
  E2E_CHECK(shop_->kubelet->startContainer(id));
  ASSERT_TRUE(waitUntil(kCeiling, [&] {
    const auto answer = httpGet(pod.ip, Shop::kPort, "/", 1s);
    return answer && answer->body.find("role=container") != std::string::npos;
  })) << "did the container find its port taken?";
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return recoveryState(*shop_->daemon, "web-0") == "handed_back"; }));
  EXPECT_FALSE(runs(pid));
  EXPECT_TRUE(waitUntil(kCeiling, [&] { return metric("fallbackd_hand_back_gap_seconds_count") == 1; }));
  EXPECT_EQ(metric("fallbackd_active_fallbacks", "checkout"), 0);
  for (const auto& cgroup : pod.cgroups) EXPECT_FALSE(fs::exists(cgroup / "fallback-checkout")) << cgroup;
  E2E_TRY(const auto code, shop_->daemon->stop());
  EXPECT_EQ(code, 0);
}

TEST_F(RecoveryE2e, AReloadDuringTheStopDoesNotEndIt) {
  open();
  E2E_TRY(const auto process, sys::openPidFd(Stage::run, shop_->daemon->pid()));
  std::jthread reloads([&](const std::stop_token& over) {
    // Not before: only the requested number of reloads may come before the stop.
    const bool stops = waitUntil(kCeiling, [&] {
      return over.stop_requested() ||
             shop_->daemon->logText().find("fallbackd is stopping") != std::string::npos;
    });
    EXPECT_TRUE(stops);
    while (!over.stop_requested()) {
      ASSERT_TRUE(sys::sendSignal(Stage::run, process, SIGHUP));
      std::this_thread::sleep_for(1ms);
    }
  });
  E2E_TRY(const auto code, shop_->daemon->stop());
  EXPECT_EQ(code, 0);
}

TEST_F(RecoveryE2e, MissingImageStartsNothing) {
  open();
  E2E_CHECK(shop_->registry.start());
  E2E_TRY(const auto pod, shop_->kubelet->startPod(checkoutPod("web-0")));
  ASSERT_TRUE(probedAgain("not_found"));
  EXPECT_EQ(recoveryState(*shop_->daemon, "web-0"), "");
  EXPECT_FALSE(httpGet(pod.ip, Shop::kPort, "/", 1s));
}

TEST_F(RecoveryE2e, MissingPasswordStartsNothing) {
  open();
  E2E_TRY(auto closed, Registry::make({.port = 0, .user = "robot", .password = "beep"}));
  E2E_CHECK(closed.start());
  E2E_TRY(const auto image, closed.pushImage("shop/checkout:1.8.3", testProgram("shop-httpd-1.8.3")));
  E2E_CHECK(shop_->daemon->reload(shop_->daemonOptions(image), kCeiling));
  E2E_TRY(const auto pod, shop_->kubelet->startPod(checkoutPod("web-0")));
  ASSERT_TRUE(probedAgain("unauthorized"));
  EXPECT_EQ(recoveryState(*shop_->daemon, "web-0"), "");
  EXPECT_FALSE(httpGet(pod.ip, Shop::kPort, "/", 1s));
}

TEST_F(RecoveryE2e, ARefusedBinaryIsNotExecuted) {
  ShopOptions options;
  options.installBinary = false;
  open(options);
  const std::string name = "checkout-v1.8.3";
  // Prepared elsewhere: a daemon that found the good binary before its corruption would keep that one.
  const auto prepared = makeRunDir("prepared");
  const auto binaryFile = prepared / name;
  const auto attestation = prepared / (name + ".sigstore.json");
  const auto good = testProgram("shop-httpd-1.8.3");
  const auto signTo = [&](const fs::path& program, const std::string& key, const std::string& version) {
    return runOk(
        {.argv = {binary("fallbackctl"), "sign", "--force", "--skip-form-check", "--key", key, "--name",
                  "checkout", "--version", version, "--expires", "30d", "--out", attestation, program},
         .env = {},
         .output = {}});
  };
  const auto place = [&](const fs::path& program, const std::string& key, const std::string& version) {
    fs::copy_file(program, binaryFile, fs::copy_options::overwrite_existing);
    E2E_TRY(const auto ignored, signTo(program, key, version));
  };
  // The attestation comes last: until then it is missing, which is also refused.
  const auto publish = [&] {
    const auto cache = shop_->signer.cacheDir();
    fs::remove(cache / attestation.filename());
    for (const auto& file : {binaryFile, attestation}) {
      if (!fs::exists(file)) continue;
      fs::copy_file(file, cache / "new", fs::copy_options::overwrite_existing);
      fs::rename(cache / "new", cache / file.filename());
    }
  };
  const std::string own = shop_->signer.privateKey();
  const std::string stranger = makeRunDir("stranger") / "key";
  E2E_TRY(const auto made,
          runOk({.argv = {binary("fallbackctl"), "keygen", "--out", stranger}, .env = {}, .output = {}}));

  struct Row {
    const char* reason;
    std::function<void()> spoil;
  };
  const std::vector<Row> rows{
      {"not_found", [] {}},
      {"attestation_missing", [&] { fs::remove(attestation); }},
      {"digest_mismatch",
       [&] {
         std::fstream file(binaryFile, std::ios::in | std::ios::out | std::ios::binary);
         file.seekg(5000);
         const char flipped = static_cast<char>(file.get() ^ 1);
         file.seekp(5000);
         file.put(flipped);
       }},
      {"untrusted_key", [&] { place(good, stranger + ".key", "1.8.3"); }},
      {"version_mismatch", [&] { place(good, own, "1.0.0"); }},
      {"elf_dynamic", [&] { place(testProgram("elf-dynamic"), own, "1.8.3"); }},
      {"not_elf", [&] { std::ofstream(binaryFile, std::ios::trunc) << "#!/bin/sh\nexit 0\n"; }},
  };
  int number = 0;
  for (const auto& row : rows) {
    if (row.reason != std::string("not_found")) place(good, own, "1.8.3");
    row.spoil();
    publish();
    const std::string podName = "web-" + std::to_string(number++);
    E2E_TRY(const auto pod, shop_->kubelet->startPod(checkoutPod(podName)));
    ASSERT_TRUE(waitUntil(kCeiling, [&] { return recoveryState(*shop_->daemon, podName) == "failed"; }))
        << row.reason;
    EXPECT_GE(metric("fallbackd_recoveries_total", "reason=\"" + std::string(row.reason) + "\""), 1)
        << row.reason;
    EXPECT_THAT(shop_->daemon->logText(), HasSubstr("reason=" + std::string(row.reason)));
    const auto verify = run({.argv = {binary("fallbackctl"), "verify", "--cache", shop_->signer.cacheDir(),
                                      "--keys", shop_->signer.keysDir(), "checkout@1.8.3"},
                             .env = {},
                             .output = {}});
    ASSERT_TRUE(verify);
    EXPECT_EQ(verify->code, 1);
    EXPECT_THAT(verify->text, HasSubstr("admission: " + std::string(row.reason)));
    EXPECT_EQ(fallbackPid(*shop_->daemon, podName), 0);
    for (const auto& cgroup : pod.cgroups) EXPECT_FALSE(fs::exists(cgroup / "fallback-checkout"));
    E2E_CHECK(shop_->kubelet->removePod(pod));
  }
  EXPECT_EQ(metric("fallbackd_recovery_phase_seconds_count", "phase=\"exec\""), 0)
      << "nothing was ever executed";
}

TEST_F(RecoveryE2e, ABinaryThatComesLaterIsResidentBeforeItIsNeeded) {
  ShopOptions options;
  options.installBinary = false;
  open(options);
  const auto admitted = [&] { return metric("fallbackd_workload_binary_admitted", "checkout@1.8.3"); };
  EXPECT_EQ(admitted(), 0);
  E2E_CHECK(shop_->signer.install(testProgram("shop-httpd-1.8.3"), "checkout", "1.8.3"));
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return admitted() == 1; })) << shop_->daemon->logText();
  // An upgrade that was interrupted halfway: the admitted copy remains in use.
  std::ofstream(shop_->signer.cacheDir() / "checkout-v1.8.3", std::ios::trunc) << "half";
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return metric("fallbackd_admissions_total", "not_elf") >= 1; }))
      << shop_->daemon->logText();
  EXPECT_EQ(admitted(), 1);
  Pod pod;
  recover("web-0", pod);
}

TEST_F(RecoveryE2e, AResidentBinaryIsNeitherReadNorHashedAgain) {
  open();
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return metric("fallbackd_workload_binary_admitted") == 1; }));
  const auto hashed = metric("fallbackd_cache_hashed_bytes_total");
  EXPECT_GT(hashed, 0);
  EXPECT_GT(metric("fallbackd_cache_resident_bytes"), 0);
  // Evidence from the kernel: inotify reports every read there.
  const sys::UniqueFd watch(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  const auto& cacheDir = shop_->signer.cacheDir();
  ASSERT_GE(::inotify_add_watch(watch.get(), cacheDir.c_str(), IN_ACCESS | IN_ONLYDIR), 0);
  const auto reads = [&] {  // the check of the folder every 30 s opens files and reads none
    std::array<char, 4096> events{};
    int count = 0;
    for (ssize_t got = 0; (got = ::read(watch.get(), events.data(), events.size())) > 0;) {
      for (ssize_t at = 0; at < got;) {
        inotify_event event{};
        std::memcpy(&event, events.data() + at, sizeof event);
        count += (event.mask & (IN_ISDIR | IN_ACCESS)) == IN_ACCESS ? 1 : 0;
        at += static_cast<ssize_t>(sizeof event + event.len);
      }
    }
    return count;
  };
  static_cast<void>(contentOf(cacheDir / "checkout-v1.8.3.sigstore.json"));
  EXPECT_GT(reads(), 0) << "the watch works";
  for (const auto* name : {"web-0", "web-1", "web-2"}) {
    Pod pod;
    recover(name, pod);
  }
  EXPECT_EQ(reads(), 0) << "reads of the cache's files during three recoveries";
  EXPECT_EQ(metric("fallbackd_cache_hashed_bytes_total"), hashed);
}

TEST_F(RecoveryE2e, AFallbackEndsWithItsPod) {
  open();
  Pod pod;
  recover("web-0", pod);
  const pid_t pid = fallbackPid(*shop_->daemon, "web-0");
  E2E_CHECK(shop_->kubelet->removePod(pod));
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return recoveryState(*shop_->daemon, "web-0") == "pod_gone"; }));
  EXPECT_FALSE(runs(pid));
  EXPECT_EQ(metric("fallbackd_active_fallbacks", "checkout"), 0);
}

TEST_F(RecoveryE2e, ACrashedDaemonLeavesTheFallbackAndTheNextOneAdoptsIt) {
  open();
  Pod pod;
  recover("web-0", pod);
  const pid_t pid = fallbackPid(*shop_->daemon, "web-0");
  shop_->daemon->kill();
  EXPECT_TRUE(runs(pid));
  EXPECT_TRUE(httpGet(pod.ip, Shop::kPort, "/"));
  E2E_CHECK(shop_->daemon->restart());
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return fallbackPid(*shop_->daemon, "web-0") == pid; }));
  ASSERT_TRUE(probedAgain("unreachable")) << "the next daemon must not start a second one";
  EXPECT_TRUE(runs(pid));
  EXPECT_EQ(fallbackPid(*shop_->daemon, "web-0"), pid);

  // It is handed back like any other fallback.
  E2E_CHECK(shop_->registry.start());
  E2E_TRY(const auto reference,
          shop_->registry.pushImage("shop/checkout:1.8.3", testProgram("shop-httpd-1.8.3")));
  ASSERT_TRUE(shop_->kubelet->pullImage(reference).ok());
  E2E_TRY(const auto id, shop_->kubelet->createContainer(pod, shop_->containerSpec()));
  E2E_CHECK(shop_->kubelet->startContainer(id));
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return recoveryState(*shop_->daemon, "web-0") == "handed_back"; }));
  EXPECT_FALSE(runs(pid));
}

TEST_F(RecoveryE2e, AFallbackThatDiesIsStartedAgain) {
  open();
  Pod pod;
  recover("web-0", pod);
  const pid_t first = fallbackPid(*shop_->daemon, "web-0");
  ASSERT_EQ(::kill(first, SIGKILL), 0);
  ASSERT_TRUE(waitUntil(kCeiling, [&] {
    const pid_t now = fallbackPid(*shop_->daemon, "web-0");
    return now != 0 && now != first && recoveryState(*shop_->daemon, "web-0") == "ready";
  }));
  EXPECT_TRUE(httpGet(pod.ip, Shop::kPort, "/"));
  EXPECT_EQ(metric("fallbackd_fallback_exits_total", "signaled"), 1);
}

TEST_F(RecoveryE2e, ABrokenConfigurationLeavesTheOldOneInUse) {
  open();
  auto broken = shop_->daemonOptions(shop_->image());
  broken.extra += "cahce: {}\n";
  E2E_CHECK(shop_->daemon->rewriteConfig(broken));
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return metric("fallbackd_config_loads_total", "refused") == 1; }));
  EXPECT_EQ(metric("fallbackd_config_last_load_successful"), 0);
  EXPECT_THAT(shop_->daemon->logText(), HasSubstr("did you mean cache?"));
  Pod pod;
  recover("web-0", pod);
  E2E_CHECK(shop_->daemon->rewriteConfig(shop_->daemonOptions(shop_->image())));
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return metric("fallbackd_config_last_load_successful") == 1; }));
}

TEST_F(RecoveryE2e, ManyPodsAtOnceShareFewProbes) {
  ShopOptions options;
  options.reprobeInterval = "60s";
  open(options);
  constexpr int kPods = 8;
  std::vector<Pod> pods;
  for (int i = 0; i < kPods; ++i) {
    E2E_TRY(auto pod, shop_->kubelet->startPod(checkoutPod("web-" + std::to_string(i))));
    pods.push_back(std::move(pod));
  }
  for (const auto& pod : pods) EXPECT_TRUE(httpGetOk(pod.ip, Shop::kPort, "/", kCeiling)) << pod.spec.name;
  EXPECT_EQ(metric("fallbackd_active_fallbacks", "checkout"), kPods);
}

}  // namespace
}  // namespace fallbackd::e2e
