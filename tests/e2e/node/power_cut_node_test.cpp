// SPDX-License-Identifier: Apache-2.0
// A node whose power fails at random moments. Each boot examines what the last cut left, then works until the
// next one: it installs packs, starts fallbacks of their versions, which raises the version floor, and
// removes pods. A witness outside the machine records each acknowledged step. Runs in a machine of
// scripts/node for scripts/report power; skips everything anywhere else.
#include "base/strings.hpp"
#include "cache/floor.hpp"
#include "content_of.hpp"
#include "e2e_gtest.hpp"
#include "node/machine.hpp"
#include "run_dir.hpp"
#include "shop.hpp"
#include "wait.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <unistd.h>
#include <vector>

#include <boost/json.hpp>
#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using test::contentOf;

constexpr unsigned kMaxRounds = 200;
constexpr std::size_t kPods = 3;  // at the same time
/// The content of a pack: it must be there completely or not at all.
const std::vector<std::string> kNames{"checkout", "cart", "payments"};

std::string environment(const char* name) {
  const char* const value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): one thread
  return value == nullptr ? "" : value;
}

fs::path disk() {
  return "/scratch/power";
}

std::string versionOf(unsigned number) {
  return "1." + std::to_string(number) + ".0";
}

/// The number in versionOf(); 0 for any other text.
unsigned numberOf(std::string_view version) {
  const auto parts = split(version, '.');
  return parts.size() == 3 ? static_cast<unsigned>(std::strtoul(std::string(parts[1]).c_str(), nullptr, 10))
                           : 0;
}

bool isJson(const std::string& text) {
  boost::system::error_code failed;
  (void)json::parse(text, failed);
  return !failed;
}

/// Lines of "STEP [WORD...]" on the host. A step is announced before it begins, and its result recorded once
/// it is done.
class Witness {
 public:
  explicit Witness(const std::string& earlier) {
    std::istringstream lines(earlier);
    for (std::string line; std::getline(lines, line);) take(line);
    interrupted = last_;
    std::ofstream("/results/witness") << earlier;
    file_ = sys::UniqueFd(::open("/results/witness", O_WRONLY | O_APPEND | O_CLOEXEC | O_SYNC));
  }
  void say(const std::string& line) {
    take(line);
    const auto text = line + "\n";
    if (::write(file_.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) std::abort();
  }

  unsigned boots = 0;
  unsigned begun = 0;                       // the newest pack whose installation began
  std::set<unsigned> installed;             // packs
  unsigned served = 0;                      // the highest version that a fallback served with
  std::map<std::string, std::string> pods;  // uid by name: those that kubelet would start again
  std::string interrupted;                  // the step that the last cut interrupted

 private:
  void take(const std::string& line) {
    std::istringstream words(line);
    std::string step;
    std::string first;
    std::string second;
    words >> step >> first >> second;
    const auto number = static_cast<unsigned>(std::strtoul(first.c_str(), nullptr, 10));
    if (step == "boot") boots = number;
    if (step == "installing") begun = number;
    if (step == "installed") installed.insert(number);
    if (step == "starting") pods[first] = second;
    if (step == "served") served = std::max(served, numberOf(second));
    if (step == "removed") pods.erase(first);
    last_ = step;
  }

  std::string last_;
  sys::UniqueFd file_;
};

class PowerCut : public testing::Test {
 protected:
  void SetUp() override {
    if (!onANode()) GTEST_SKIP() << "only in a machine of scripts/node";
    witness_.emplace(contentOf(environment("POWER_WITNESS")));
    witness_->say("boot " + std::to_string(witness_->boots + 1));
    fs::create_directories(disk() / "signer");
    const auto folder = disk() / ("boot-" + std::to_string(witness_->boots));
    fs::create_directory(folder);
    setRunDir(folder);
    if (witness_->boots == 1) {
      E2E_TRY(signer_, Signer::makeIn(disk() / "signer"));
    } else {
      signer_ = Signer::at(disk() / "signer");
    }
    removeTornNetworks();
    E2E_TRY(node_, ContainerdNode::start({.ofMachine = true}));
    E2E_TRY(registry_, Registry::make());
    kubelet_ = std::make_unique<Kubelet>(*node_, disk() / "pods", disk() / "pod-logs");
    // Saves keys and sandbox image: containerd does not flush what it unpacks, and a pause program that a cut
    // has emptied always ends at once.
    if (witness_->boots == 1) ::sync();
  }

  /// CNI does not flush its records of a sandbox. With a torn file containerd can never stop that sandbox.
  static void removeTornNetworks() {
    std::error_code none;
    for (const auto& entry : fs::directory_iterator("/var/lib/cni/results", none)) {
      if (entry.is_regular_file() && !isJson(contentOf(entry.path()))) fs::remove(entry.path());
    }
  }

  [[nodiscard]] static PodSpec spec(const std::string& name, const std::string& uid, unsigned attempt) {
    auto spec = checkoutPod(name);
    spec.uid = uid;
    spec.attempt = attempt;
    spec.slice = systemdMakesCgroups();
    return spec;
  }

  [[nodiscard]] DaemonOptions daemonOptions(unsigned number) const {
    DaemonOptions options;
    options.containerdSocket = node_->socket();
    options.cacheDir = signer_->cacheDir();
    options.keysDir = signer_->keysDir();
    options.kubeletPods = kubelet_->podsDir();
    options.state = disk() / "state";
    options.launcher = "  logLinks: " + (disk() / "links").string() + "\n";
    options.workloads = checkoutWorkload(registry_->reference("shop/checkout:1.8.3"), versionOf(number)) +
                        "  settle: always\n";
    return options;
  }

  /// Installs the next pack, with one command.
  void installNext() {
    const unsigned number = witness_->begun + 1;
    const auto pack = disk() / "pack";
    fs::remove_all(pack);
    fs::create_directory(pack);
    for (const auto& name : kNames) {
      const auto program = pack / (name + "-v" + versionOf(number));
      fs::copy_file(testProgram("shop-httpd-1.8.3"), program);
      E2E_TRY(const auto attestation, signer_->sign(program, name, versionOf(number)));
      fs::copy_file(attestation, program.string() + ".sigstore.json");
    }
    witness_->say("installing " + std::to_string(number));
    E2E_CHECK(runOk({.argv = {binary("fallbackctl"), "install", "--cache", signer_->cacheDir(), "--keys",
                              signer_->keysDir(), "--from", pack},
                     .env = {},
                     .output = {}}));
    witness_->say("installed " + std::to_string(number));
  }

  /// Reads the names of each version's admitted binaries. Adds what would be refused to found_.half.
  void readCache(std::map<unsigned, std::set<std::string>>& admitted) {
    // Without a floor, because a binary below it would be refused for that.
    E2E_TRY(const auto listed,
            run({.argv = {binary("fallbackctl"), "list", "--cache", signer_->cacheDir(), "--keys",
                          signer_->keysDir(), "--state", disk() / "no-state", "-o", "json"},
                 .env = {},
                 .output = {}}));
    boost::system::error_code failed;
    const auto list = json::parse(listed.text, failed);
    ASSERT_FALSE(failed) << listed.text;
    for (const auto& item : list.as_array()) {
      const std::string name(item.at("name").as_string());
      const std::string version(item.at("version").as_string());
      if (item.at("admitted").as_bool()) {
        admitted[numberOf(version)].insert(name);
      } else {
        found_.half.push_back(name + "@" + version + ": " + std::string(item.at("error").as_string()));
      }
    }
  }

  void examineCache() {
    std::map<unsigned, std::set<std::string>> admitted;
    ASSERT_NO_FATAL_FAILURE(readCache(admitted));
    for (const unsigned number : witness_->installed) {
      if (admitted[number].size() != kNames.size()) found_.lost.push_back(versionOf(number));
    }
    // The next installation finishes or removes what the cut left of the last one.
    ASSERT_NO_FATAL_FAILURE(installNext());
    admitted.clear();
    ASSERT_NO_FATAL_FAILURE(readCache(admitted));
    for (const auto& [number, names] : admitted) {
      if (names.size() != kNames.size()) found_.half.push_back("the pack of " + versionOf(number));
    }
    for (const auto& entry : fs::directory_iterator(signer_->cacheDir())) {
      const auto name = entry.path().filename().string();
      if (name.starts_with(".install-") || name.starts_with(".commit-")) {
        found_.half.push_back("leftover " + name);
      }
    }
  }

  void examineFloor() {
    E2E_TRY(const auto floor, cache::VersionFloor::open(disk() / "state", cache::VersionFloor::Mode::look));
    if (floor.warning()) found_.half.push_back(*floor.warning());
    found_.floor = numberOf(floor.of("checkout").value_or(""));
    if (found_.floor < witness_->served) {
      found_.lower.push_back(floor.of("checkout").value_or("none") + " after " + versionOf(witness_->served));
    }
  }

  /// Recoveries that began, whatever their outcome.
  [[nodiscard]] double sumOfMetric(const std::string& name) const {
    const auto metrics = daemon_->metrics();
    return metrics ? sumOf(*metrics, name) : -1;
  }

  /// Starts the pod's sandbox and waits until one fallback serves it and its stand-in runs.
  void rescue(const PodSpec& spec, unsigned number) {
    E2E_TRY(const auto pod, kubelet_->startPod(spec));
    ASSERT_TRUE(waitUntil(kCeiling, [&] { return recoveryState(*daemon_, spec.name) == "ready"; }))
        << daemon_->logText();
    E2E_TRY(const auto answer, httpGetOk(pod.ip, Shop::kPort, "/", kCeiling));
    EXPECT_THAT(answer.body, testing::HasSubstr("role=fallback"));
    // containerd does not flush what it unpacks: a stand-in's image may be torn.
    if (!waitUntil(kCeiling, [&] { return standInOf(*daemon_, spec.name).state == "settled"; })) {
      const auto [state, reason] = standInOf(*daemon_, spec.name);
      found_.half.push_back("the stand-in of " + spec.name + " is " + state + ": " + reason);
    }
    std::set<pid_t> processes;
    for (const auto& cgroup : pod.cgroups) {
      for (const pid_t pid : cgroupProcesses(cgroup / "fallback-checkout")) processes.insert(pid);
    }
    if (processes.size() != 1) found_.doubled.push_back(spec.name);
    pods_.push_back(pod);
    witness_->say("served " + spec.name + " " + versionOf(number));
  }

  /// Like kubelet after a boot: each pod gets a new sandbox beside the one that the cut ended.
  void examineRecoveries() {
    E2E_TRY(daemon_, Daemon::start(daemonOptions(witness_->begun)));
    if (sumOfMetric("fallbackd_recoveries_begun_total") != 0)
      found_.doubled.push_back("a recovery without a pod");
    const auto pods = witness_->pods;
    for (const auto& [name, uid] : pods) {
      ASSERT_NO_FATAL_FAILURE(rescue(spec(name, uid, witness_->boots), witness_->begun));
    }
    // Counts recoveries that served. A recovery that waits too long while its sandbox's network is still
    // being set up begins again.
    const auto served = sumOfMetric("fallbackd_recovery_seconds_count");
    if (served != static_cast<double>(pods.size())) {
      found_.doubled.push_back(std::to_string(served) + " recoveries of " + std::to_string(pods.size()) +
                               " pods");
    }
  }

  void writeFound() const {
    const auto list = [](const std::vector<std::string>& texts) {
      return json::array(texts.begin(), texts.end());
    };
    std::ofstream("/results/found.json")
        << json::serialize(json::object{{"boot", witness_->boots},
                                        {"interrupted", witness_->interrupted},
                                        {"packs", witness_->installed.size()},
                                        {"floor", found_.floor},
                                        {"pods", pods_.size()},
                                        {"half", list(found_.half)},
                                        {"lost", list(found_.lost)},
                                        {"lower", list(found_.lower)},
                                        {"doubled", list(found_.doubled)}});
  }

  void examine() {
    const auto steps = {&PowerCut::examineFloor, &PowerCut::examineCache, &PowerCut::examineRecoveries};
    for (const auto step : steps) {
      (this->*step)();
      if (HasFatalFailure()) return;
    }
    writeFound();
    expectNothingFound();
  }

  void expectNothingFound() const {
    EXPECT_THAT(found_.half, testing::IsEmpty());
    EXPECT_THAT(found_.lost, testing::IsEmpty());
    EXPECT_THAT(found_.lower, testing::IsEmpty());
    EXPECT_THAT(found_.doubled, testing::IsEmpty());
  }

  void removeOldest() {
    const auto pod = pods_.front();
    pods_.erase(pods_.begin());
    witness_->say("removing " + pod.spec.name);
    E2E_CHECK(kubelet_->removePod(pod));
    witness_->say("removed " + pod.spec.name);
  }

  void follow(unsigned number) {
    witness_->say("reloading " + std::to_string(number));
    E2E_CHECK(daemon_->reload(daemonOptions(number), kCeiling));
  }

  /// Works until the power fails.
  void work() {
    for (unsigned round = 0; round < kMaxRounds; ++round) {
      // Every other boot begins with a different step, because most cuts interrupt the first one.
      if (pods_.size() >= kPods + (round == 0 ? witness_->boots % 2 : 0)) {
        ASSERT_NO_FATAL_FAILURE(removeOldest());
      }
      ASSERT_NO_FATAL_FAILURE(installNext());
      ASSERT_NO_FATAL_FAILURE(follow(witness_->begun));
      const auto name = "web-" + std::to_string(witness_->begun);
      const auto uid = makeUid();
      witness_->say("starting " + name + " " + uid);
      ASSERT_NO_FATAL_FAILURE(rescue(spec(name, uid, witness_->boots), witness_->begun));
      expectNothingFound();
      if (HasFailure()) return;
    }
    FAIL() << "the power did not fail";
  }

  /// scripts/node cuts the power some time after this. With POWER_REBOOT_AFTER the machine reboots instead.
  void beginWork() {
    const auto reboot = environment("POWER_REBOOT_AFTER");
    if (!reboot.empty()) {
      E2E_CHECK(runOk({.argv = {"systemd-run", "--quiet", "--on-active=" + reboot,
                                "--timer-property=AccuracySec=1ms", "systemctl", "reboot"},
                       .env = {},
                       .output = {}}));
      return;
    }
    const int events = std::atoi(environment("NODE_EVENTS").c_str());  // NOLINT(cert-err34-c): digits
    ASSERT_EQ(::write(events, "working\n", 8), 8);
  }

 private:
  /// What must never be found after a cut, one text for each case.
  struct Found {
    std::vector<std::string> half;     // binaries and floors that exist only in part
    std::vector<std::string> lost;     // packs that were installed and are missing
    std::vector<std::string> lower;    // version floors
    std::vector<std::string> doubled;  // fallbacks and recoveries
    unsigned floor = 0;                // its number in versionOf()
  };

  std::optional<Witness> witness_;
  std::optional<Signer> signer_;
  std::unique_ptr<ContainerdNode> node_;
  std::optional<Registry> registry_;
  std::unique_ptr<Kubelet> kubelet_;
  std::unique_ptr<Daemon> daemon_;
  std::vector<Pod> pods_;
  Found found_;
};

TEST_F(PowerCut, LeavesNothingHalf) {
  examine();
  if (HasFailure() || !environment("POWER_LAST").empty()) return;
  beginWork();
  if (!HasFailure()) work();
}

}  // namespace
}  // namespace fallbackd::e2e

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
