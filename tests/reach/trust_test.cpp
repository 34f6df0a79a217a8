// SPDX-License-Identifier: Apache-2.0
// What may run: dates, the version floor, and what a pod's annotation may claim.
#include "base/strings.hpp"
#include "cache/attestation.hpp"
#include "cache/elf.hpp"
#include "e2e_gtest.hpp"
#include "run_dir.hpp"
#include "shop.hpp"
#include "sys/file.hpp"
#include "wait.hpp"

#include <filesystem>
#include <fstream>
#include <vector>

#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::HasSubstr;

constexpr const char* kProgram = "shop-httpd-1.8.3";

void record(const char* item, const char* attack) {
  testing::Test::RecordProperty("item", item);
  testing::Test::RecordProperty("attack", attack);
}

/// A cache, and fallbackctl exec as a launch script calls it.
class Exec : public testing::Test {
 protected:
  void SetUp() override {
    E2E_TRY(auto made, Signer::make());
    signer_.emplace(std::move(made));
    state_ = makeRunDir("state");
  }
  /// Puts the program into the cache with an attestation that only the owner of the key can write.
  void put(const std::string& expires) {
    E2E_TRY(const auto bytes, sys::readFile(Stage::cli, testProgram(kProgram), 64 << 20));
    E2E_TRY(const auto pem, sys::readFile(Stage::cli, signer_->privateKey(), 65536));
    E2E_TRY(const auto key, cache::PrivateKey::parse(pem, "the key"));
    cache::Statement statement;
    statement.ref = {"checkout", "1.8.3"};
    statement.digest = toHex(cache::Sha256::of(bytes));
    statement.os = "linux";
    statement.arch = cache::nodeArchitecture();
    statement.expires = *parseRfc3339(expires);
    E2E_TRY(const auto bundle, cache::signStatement(statement, key));
    E2E_TRY(const auto dir, sys::openDir(Stage::cli, signer_->cacheDir()));
    E2E_CHECK(sys::replaceFile(Stage::cli, dir, statement.ref.fileName(), bytes, 0755));
    E2E_CHECK(sys::replaceFile(Stage::cli, dir, statement.ref.attestationName(), bundle, 0644));
  }
  /// Tries to run the program; keeps its output.
  void tryToRun() {
    E2E_TRY(output_, run({.argv = {binary("fallbackctl"), "exec", "--cache", signer_->cacheDir(), "--keys",
                                   signer_->keysDir(), "--state", state_, "--no-health-check",
                                   "checkout@1.8.3", "--", "--health-check"},
                          .env = {},
                          .output = {}}));
  }

  std::optional<Signer> signer_;
  fs::path state_;
  Output output_;
};

TEST_F(Exec, ABinaryThatExpiredIn1700DoesNotRun) {
  record("10", "Runs a binary whose attestation expired in 1700: the age does not fit a 64-bit duration");
  put("2199-01-01T00:00:00Z");
  tryToRun();
  ASSERT_EQ(output_.code, 0) << "the control case must run: " << output_.text;
  put("1700-01-01T00:00:00Z");
  tryToRun();
  EXPECT_NE(output_.code, 0) << "a binary ran that expired more than three hundred years ago";
}

TEST_F(Exec, AKeyThatExpiredIn1700SignsNothing) {
  record("10", "Runs a binary whose signing key expired in 1700 (fallbackd-not-after)");
  put("2199-01-01T00:00:00Z");
  tryToRun();
  ASSERT_EQ(output_.code, 0) << "the control case must run: " << output_.text;
  const auto file = signer_->keysDir() / "signing.pub";
  E2E_TRY(const auto pem, sys::readFile(Stage::cli, file, 65536));
  std::ofstream(file) << "fallbackd-not-after: 1700-01-01\n" << pem;
  tryToRun();
  EXPECT_NE(output_.code, 0) << "a binary ran with a key that expired in 1700";
}

TEST_F(Exec, TheFloorHoldsWith4097Names) {
  record("10", "Brings an older version back on a node that knows more than 4,096 names of binaries");
  put("2199-01-01T00:00:00Z");
  std::string names = R"("checkout":"1.9.0")";
  const auto write = [&] {
    for (const auto* name : {"version-floor.json", "version-floor.copy.json"})
      std::ofstream(state_ / name) << R"({"versions":{)" << names << "}}\n";
  };
  write();
  tryToRun();
  ASSERT_NE(output_.code, 0) << "the control case, with one name";
  for (int i = 1; i < 4097; ++i) names.append(",\"n" + std::to_string(i) + "\":\"1.0.0\"");
  write();
  tryToRun();
  EXPECT_NE(output_.code, 0) << "checkout@1.8.3 ran though 1.9.0 was accepted before: the floor was lost";
  EXPECT_THAT(output_.text, HasSubstr("version_rollback"));
}

/// The value of `key` in /proc/PID/status, trimmed.
std::string statusLine(pid_t pid, const std::string& key) {
  const auto text =
      sys::readFile(Stage::cli, "/proc/" + std::to_string(pid) + "/status", 1 << 20).value_or("");
  const auto at = text.find("\n" + key + ":");
  if (at == std::string::npos) return "(none)";
  const auto begin = at + key.size() + 2;
  return std::string(trim(std::string_view(text).substr(begin, text.find('\n', begin) - begin)));
}

class Trust : public testing::Test {
 protected:
  void open() { E2E_TRY(shop_, Shop::open()); }
  void reload(const DaemonOptions& options) const { E2E_CHECK(shop_->daemon->reload(options, kCeiling)); }
  void restart() const {
    E2E_TRY(const auto code, shop_->daemon->stop());
    ASSERT_EQ(code, 0);
    E2E_CHECK(shop_->daemon->restart());
  }
  [[nodiscard]] double metric(const std::string& prefix, const std::string& part = "") const {
    const auto metrics = shop_->daemon->metrics();
    return metrics ? sumOf(*metrics, prefix, part) : -1;
  }
  [[nodiscard]] bool admitted(const std::string& ref) const {
    return waitUntil(kCeiling, [&] { return metric("fallbackd_workload_binary_admitted", ref) == 1; });
  }
  [[nodiscard]] bool reaches(const std::string& pod, const std::string& state) const {
    return waitUntil(kCeiling, [&] { return recoveryState(*shop_->daemon, pod) == state; });
  }
  std::unique_ptr<Shop> shop_;
};

TEST_F(Trust, ARolloutOfTwoVersionsSurvivesARestart) {
  record("10", "A rollout: the configuration names 1.8.3 and 1.8.4, and the daemon restarts");
  open();
  E2E_CHECK(shop_->signer.install(testProgram("shop-httpd-1.8.3"), "checkout", "1.8.4"));
  auto options = shop_->daemonOptions(shop_->image());
  options.workloads +=
      "- name: checkout-next\n"
      "  match: {namespace: shop, labels: {app: checkout-next}, container: checkout}\n"
      "  image: " +
      shop_->registry.reference("shop/checkout:1.8.4") + "\n  binary: checkout@1.8.4\n";
  reload(options);
  ASSERT_TRUE(admitted("checkout@1.8.3") && admitted("checkout@1.8.4")) << shop_->daemon->logText();
  restart();
  EXPECT_EQ(metric("fallbackd_workload_binary_admitted", "checkout@1.8.4"), 1);
  EXPECT_EQ(metric("fallbackd_workload_binary_admitted", "checkout@1.8.3"), 1)
      << "the older half of the rollout has no fallback";
  E2E_TRY(const auto pod, shop_->kubelet->startPod(checkoutPod("web-0")));
  EXPECT_TRUE(reaches("web-0", "ready")) << "a pod of the older half got no fallback";
}

TEST_F(Trust, APodDoesNotRaiseTheFloorForOthers) {
  record("10", "A pod chooses a high version by annotation: after a restart the configured one is refused");
  open();
  E2E_CHECK(shop_->signer.install(testProgram("shop-httpd-1.8.3"), "checkout", "2.0.0"));
  auto options = shop_->daemonOptions(shop_->image());
  options.extra += "podAnnotations: {namespaces: [outside]}\n";
  reload(options);
  ASSERT_TRUE(admitted("checkout@1.8.3")) << shop_->daemon->logText();
  auto spec = checkoutPod("high-0");
  spec.namespaceName = "outside";
  spec.annotations = {{"fallbackd.io/binary.web", "checkout@2.0.0"},
                      {"fallbackd.io/image.web", shop_->image()}};
  E2E_TRY(const auto pod, shop_->kubelet->startPod(spec));
  ASSERT_TRUE(reaches("high-0", "ready")) << shop_->daemon->logText();
  restart();
  EXPECT_EQ(metric("fallbackd_workload_binary_admitted", "checkout@1.8.3"), 1)
      << "a pod of a different namespace made the daemon refuse the configured version";
}

TEST_F(Trust, AnAnnotatedBinaryGetsNothingFromAWorkload) {
  record("10",
         "A pod with a workload's labels names a different binary by annotation, to run it as that "
         "workload's user, "
         "with its capability and its volume");
  open();
  E2E_CHECK(shop_->signer.install(testProgram(kProgram), "tool", "1.0.0"));
  auto options = shop_->daemonOptions(shop_->image());
  const std::string user = "{uid: 65532, gid: 65533}";
  options.workloads.replace(options.workloads.find(user), user.size(), "{uid: 4242, gid: 4243}");
  options.workloads += "  capabilities: [NET_BIND_SERVICE]\n";
  options.extra += "podAnnotations: {namespaces: [shop]}\n";
  reload(options);
  auto spec = checkoutPod("web-0");
  spec.annotations = {{"fallbackd.io/binary.checkout", "tool@1.0.0"},
                      {"fallbackd.io/image.checkout", shop_->image()}};
  E2E_TRY(const auto pod, shop_->kubelet->startPod(spec));
  ASSERT_TRUE(reaches("web-0", "ready")) << shop_->daemon->logText();
  const auto pid = fallbackPid(*shop_->daemon, "web-0");
  ASSERT_GT(pid, 0);
  EXPECT_EQ(statusLine(pid, "Uid"), "65532\t65532\t65532\t65532") << "it runs as the workload's user";
  EXPECT_EQ(statusLine(pid, "CapPrm"), "0000000000000000") << "it has the workload's capability";
  EXPECT_FALSE(fs::exists("/proc/" + std::to_string(pid) + "/root/etc/app"))
      << "it has the workload's volume";
}

TEST_F(Trust, ADamagedRevocationListShowsInReadyz) {
  record("12",
         "A revocation list has a typo: the binary that it meant to revoke is served, and nobody notices");
  open();
  const auto folder = makeRunDir("revoked");
  const auto list = folder / "revoked";
  std::ofstream(list) << "# none\n";
  auto options = shop_->daemonOptions(shop_->image());
  options.cache = "  revoked: " + list.string() + "\n";
  E2E_CHECK(shop_->daemon->rewriteConfig(options));
  restart();
  const auto readyz = [&] {
    const auto answer = httpGet("127.0.0.1", shop_->daemon->telemetryPort(), "/readyz");
    return answer ? answer->body : std::string();
  };
  ASSERT_THAT(readyz(), HasSubstr("ok cache"));
  ASSERT_TRUE(admitted("checkout@1.8.3"));
  std::ofstream(list) << "# one\nsha256:0123\n";
  const auto named = list.string() + ":2: ";
  EXPECT_TRUE(waitUntil(kCeiling, [&] { return readyz().find(named) != std::string::npos; }))
      << "the list cannot be parsed, but /readyz reports: " << readyz();
  E2E_TRY(const auto pod, shop_->kubelet->startPod(checkoutPod("web-0")));
  EXPECT_TRUE(reaches("web-0", "ready")) << "binaries admitted before must keep serving";
}

}  // namespace
}  // namespace fallbackd::e2e
