// SPDX-License-Identifier: Apache-2.0
// The daemon restarts while nothing can report what runs: containerd is down, /run is full, its journal is
// damaged. Serving fallbacks must keep serving.
#include "e2e_gtest.hpp"
#include "run_dir.hpp"
#include "shop.hpp"
#include "sys/process.hpp"
#include "wait.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sys/mount.h>

#include <boost/json.hpp>

namespace fallbackd::e2e {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

// A daemon that ends unknown processes does so when it starts.
constexpr auto kUntilItEnds = 4s;

class ReachSilence : public testing::Test {
 protected:
  void SetUp() override {
    RecordProperty("item", "8");
    E2E_TRY(shop_, Shop::open());
  }
  ~ReachSilence() override {
    if (mounted_) ::umount2(shop_->daemon->runFolder().c_str(), MNT_DETACH);
  }

  /// Waits until the pod's fallback serves, and remembers its process.
  void rescue(const PodSpec& spec) {
    E2E_TRY(pod_, shop_->kubelet->startPod(spec));
    ASSERT_TRUE(waitUntil(kCeiling, [&] { return recoveryState(*shop_->daemon, spec.name) == "ready"; }))
        << shop_->daemon->logText();
    pid_ = fallbackPid(*shop_->daemon, spec.name);
    E2E_TRY(started_, sys::startTimeOf(Stage::cli, pid_));
  }
  [[nodiscard]] bool runs() const {
    const auto now = sys::startTimeOf(Stage::cli, pid_);
    return now && *now == started_;
  }
  /// Checks for a while that it keeps serving, and that it answers at the end.
  void servesOn(const std::string& why) {
    const bool ended = waitUntil(kUntilItEnds, [&] { return !runs(); });
    ASSERT_FALSE(ended) << "the fallback was ended " << why;
    // Each answer comes from the same process: nothing was started in its place.
    EXPECT_TRUE(httpGet(pod_.ip, Shop::kPort, "/", 2s)) << "the pod does not serve";
  }
  void isTakenOver() {
    const auto& name = pod_.spec.name;
    EXPECT_TRUE(waitUntil(kCeiling,
                          [&] {
                            return recoveryState(*shop_->daemon, name) == "ready" &&
                                   fallbackPid(*shop_->daemon, name) == pid_;
                          }))
        << "process " << pid_ << " was not taken over; now " << fallbackPid(*shop_->daemon, name) << "\n"
        << shop_->daemon->logText();
  }
  [[nodiscard]] std::vector<fs::path> entries() const {
    std::vector<fs::path> all;
    for (const auto& entry : fs::directory_iterator(shop_->daemon->runFolder() / "journal")) {
      if (entry.path().extension() == ".json") all.push_back(entry.path());
    }
    return all;
  }

  std::unique_ptr<Shop> shop_;
  Pod pod_;
  pid_t pid_ = 0;
  std::uint64_t started_ = 0;
  bool mounted_ = false;
};

TEST_F(ReachSilence, AnAnnotatedFallbackSurvivesADaemonStartWithoutContainerd) {
  RecordProperty("attack",
                 "containerd is down when the daemon restarts beside a fallback that its pod chose");
  auto options = shop_->daemonOptions(shop_->image());
  options.workloads.clear();
  options.extra += "podAnnotations: {namespaces: [shop]}\n";
  shop_->daemon->kill();
  E2E_CHECK(shop_->daemon->rewriteConfig(options));
  E2E_CHECK(shop_->daemon->restart());
  auto spec = checkoutPod("web-0");
  spec.annotations = {{"fallbackd.io/binary.web", "checkout@1.8.3"},
                      {"fallbackd.io/image.web", shop_->image()}};
  ASSERT_NO_FATAL_FAILURE(rescue(spec));
  shop_->daemon->kill();
  shop_->node->kill();
  E2E_CHECK(shop_->daemon->launch());
  ASSERT_NO_FATAL_FAILURE(servesOn("because containerd did not answer"));
  E2E_CHECK(shop_->node->restart());
  isTakenOver();
  ASSERT_NO_FATAL_FAILURE(servesOn("once containerd answered"));
}

TEST_F(ReachSilence, AFullRunFolderEndsNoFallback) {
  RecordProperty("attack",
                 "/run is full: the journal of a launch cannot be written, and the daemon restarts");
  const auto run = shop_->daemon->runFolder();
  shop_->daemon->kill();
  ASSERT_EQ(::mount("tmpfs", run.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=256k"), 0);
  mounted_ = true;
  E2E_CHECK(shop_->daemon->restart());
  {
    std::ofstream filler(run / "filler");
    const std::string page(4096, 'x');
    for (int i = 0; i < 1000 && filler; ++i) filler << page << std::flush;
  }
  ASSERT_NO_FATAL_FAILURE(rescue(checkoutPod("web-0")));
  ASSERT_TRUE(entries().empty()) << "the journal must not be writable";
  shop_->daemon->kill();
  E2E_CHECK(shop_->daemon->launch());
  ASSERT_NO_FATAL_FAILURE(servesOn("because it had no journal entry"));
  isTakenOver();
  // With free space again the next daemon learns everything.
  fs::remove(run / "filler");
  EXPECT_TRUE(waitUntil(60s, [&] { return entries().size() == 1; })) << shop_->daemon->logText();
  shop_->daemon->kill();
  E2E_CHECK(shop_->daemon->restart());
  isTakenOver();
}

TEST_F(ReachSilence, ADamagedJournalEndsNoFallback) {
  RecordProperty("attack", "A journal entry is cut off in the middle while the daemon is down");
  ASSERT_NO_FATAL_FAILURE(rescue(checkoutPod("web-0")));
  shop_->daemon->kill();
  const auto all = entries();
  ASSERT_EQ(all.size(), 1U);
  fs::resize_file(all[0], fs::file_size(all[0]) / 2);
  E2E_CHECK(shop_->daemon->launch());
  ASSERT_NO_FATAL_FAILURE(servesOn("because its journal entry could not be read"));
  isTakenOver();
}

TEST_F(ReachSilence, AMissingJournalWithoutContainerdEndsNoFallback) {
  RecordProperty("attack", "The journal is removed and containerd is down when the daemon restarts");
  ASSERT_NO_FATAL_FAILURE(rescue(checkoutPod("web-0")));
  shop_->daemon->kill();
  for (const auto& entry : entries()) fs::remove(entry);
  shop_->node->kill();
  E2E_CHECK(shop_->daemon->launch());
  ASSERT_NO_FATAL_FAILURE(servesOn("because its owner was unknown"));
  E2E_CHECK(shop_->node->restart());
  isTakenOver();
}

}  // namespace
}  // namespace fallbackd::e2e
