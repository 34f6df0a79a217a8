// SPDX-License-Identifier: Apache-2.0
// The mirror of last resort on the real containerd: the result of PullImage for an image of the node, however
// its registry fails.
#include "e2e_gtest.hpp"
#include "mirror_node.hpp"
#include "mirrors.hpp"
#include "wait.hpp"

#include <atomic>
#include <fstream>
#include <future>
#include <set>
#include <sstream>
#include <sys/stat.h>
#include <thread>

#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::Not;
namespace json = boost::json;

// One second for a connection, three for an answer; the rest because the machine may be slow.
constexpr auto kWithinTheLimit = 15s;
constexpr int kPodsOfANode = 110;
const std::filesystem::path kContainerds = FALLBACKD_CONTAINERDS;

NodeOptions nodeOf(const std::string& containerd) {
  NodeOptions options;
  if (containerd != "installed") options.binDir = kContainerds / containerd;
  return options;
}

bool isFetched(const std::string& containerd) {
  const auto options = nodeOf(containerd);
  return !options.binDir || std::filesystem::exists(*options.binDir / "containerd");
}

/// Writes a line of build/report-mirror.json for each test, if scripts/report wants it.
void tell(const std::string& containerd, json::array rows) {
  const char* const folder = std::getenv("MIRROR_JSON");  // NOLINT(concurrency-mt-unsafe): one thread
  if (folder == nullptr) return;
  static int number = 0;
  std::ofstream(std::string(folder) + "/" + containerd + "-" +
                testing::UnitTest::GetInstance()->current_test_info()->test_suite_name()[0] +
                std::to_string(++number) + "-" + std::to_string(::getpid()) + ".json")
      << json::object{{"containerd", containerd}, {"rows", std::move(rows)}} << "\n";
}

class Mirror : public testing::TestWithParam<std::string> {
 protected:
  void open(NodeOptions options, const std::string& mirrorExtra = "") {
    E2E_TRY(node_, MirrorNode::open(std::move(options), mirrorExtra));
    E2E_TRY(well_, FaultRegistry::start(cartImage(), {.index = true}));
    E2E_CHECK(node_->enable(well_->address()));
    const auto first = pull(onWell());
    ASSERT_TRUE(first.ok()) << first.text;
    ASSERT_GE(well_->requests(), 3U) << "it came from the registry";
  }
  [[nodiscard]] std::string onWell(const std::string& path = "shop/cart:1") const {
    return well_->address() + "/" + path;
  }
  [[nodiscard]] PullOutcome pull(const std::string& image) const {
    return node_->shop().kubelet->pullImage(image);
  }
  /// Names in the image store and the digests that they stand for.
  [[nodiscard]] std::set<std::string> images() const {
    std::set<std::string> lines;
    std::istringstream list(node_->shop().node->ctr({"images", "ls"}).value_or(""));
    std::string name;
    std::string type;
    std::string digest;
    for (std::string line; std::getline(list, line);) {
      std::istringstream words(line);
      if (words >> name >> type >> digest) lines.insert(name + " " + digest);
    }
    return lines;
  }
  [[nodiscard]] double metric(const std::string& prefix) const { return node_->metric(prefix); }

  std::unique_ptr<MirrorNode> node_;
  std::unique_ptr<FaultRegistry> well_;
};

struct PullCase {
  std::string name;
  RegistryFault fault;
  bool served;
  std::string host = {};  // without a registry of ours
  bool byDigest = false;
};

/// Policy Always, in kubelet's terms: it pulls although the image is on the node.
TEST_P(Mirror, AnImageOfTheNodeIsServedForEveryFailureOfItsRegistry) {
  if (!isFetched(GetParam())) GTEST_SKIP() << "scripts/fetch-suites has not fetched " << GetParam();
  ASSERT_NO_FATAL_FAILURE(open(nodeOf(GetParam())));
  E2E_TRY(const auto dead, DeadPort::make());
  RegistryFault silent{.silent = true};
  RegistryFault reset{.reset = true};
  const auto status = [](unsigned code) {
    RegistryFault fault;
    fault.status = code;
    return fault;
  };
  const std::vector<PullCase> cases{{"refused", {}, true, dead.address()},
                                    {"refused, by digest", {}, true, dead.address(), true},
                                    {"name not known", {}, true, "registry.invalid:5000"},
                                    {"accepts, stays silent", silent, true},
                                    {"connection reset", reset, true},
                                    {"503", status(503), true},
                                    {"503, by digest", status(503), true, "", true},
                                    {"429", status(429), true},
                                    {"401", status(401), false},
                                    {"403", status(403), false},
                                    {"404", status(404), false}};
  json::array rows;
  // All registries live until the end: a reused port would have the previous registry's verdict.
  std::vector<std::unique_ptr<FaultRegistry>> registries;
  for (const auto& one : cases) {
    SCOPED_TRACE(one.name);
    if (one.host.empty()) {
      E2E_TRY(auto registry, FaultRegistry::start(cartImage(), one.fault));
      registries.push_back(std::move(registry));
    }
    const auto host = one.host.empty() ? registries.back()->address() : one.host;
    E2E_CHECK(node_->enable(host));
    E2E_CHECK(node_->name(onWell(), host + "/shop/cart:1"));
    const auto before = images();
    const auto outcome = pull(host + "/shop/cart" + (one.byDigest ? "@" + well_->indexDigest() : ":1"));
    EXPECT_EQ(outcome.ok(), one.served) << outcome.text << "\n" << node_->shop().daemon->logText();
    if (one.served) {
      EXPECT_LT(outcome.took, kWithinTheLimit);
    }
    // CRI adds NAME@DIGEST after every pull; existing names keep their digests.
    const auto after = images();
    for (const auto& line : before) EXPECT_TRUE(after.contains(line)) << "a reference was changed: " << line;
    for (const auto& line : after) {
      EXPECT_TRUE(before.contains(line) || line.find(well_->indexDigest()) != std::string::npos) << line;
    }
    rows.push_back(json::object{{"case", one.name},
                                {"served", outcome.ok()},
                                {"expected", one.served},
                                {"ms", toMillis(outcome.took)}});
  }
  tell(GetParam(), std::move(rows));
  // For an image that is not on the node, the outage is still visible.
  for (const auto& host : {dead.address(), std::string("registry.invalid:5000")}) {
    const auto outcome = pull(host + "/shop/absent:1");
    EXPECT_FALSE(outcome.ok());
    EXPECT_THAT(outcome.text, HasSubstr("502"));
    EXPECT_THAT(outcome.text, testing::Not(HasSubstr("not found")));
  }
  // An invented name with a digest gets nothing that came to the node under a different name.
  EXPECT_FALSE(pull(dead.address() + "/made/up@" + well_->indexDigest()).ok());
  // Status and log report where the image came from.
  const auto shown = node_->status();
  const auto& served = shown.at("mirror").at("served").as_array();
  ASSERT_GE(served.size(), 5U);
  EXPECT_THAT(json::serialize(served), HasSubstr("from the node, last seen at the registry 20"));
  EXPECT_THAT(node_->shop().daemon->logText(), HasSubstr("image from the node: its registry is down"));
  E2E_TRY(const auto table,
          runOk({.argv = {binary("fallbackctl"), "status", "--socket", node_->shop().daemon->controlSocket()},
                 .env = {},
                 .output = {}}));
  EXPECT_THAT(table, HasSubstr("/shop/cart:1: from the node, last seen at the registry 20"));
  EXPECT_GE(metric("fallbackd_mirror_images_total{by=\"tag\",cause=\"timeout\""), 1);
  EXPECT_GE(metric("fallbackd_mirror_images_total{by=\"digest\""), 2);
}

/// A healthy registry answers itself, and the mirror is not in the way, dead or alive.
TEST_P(Mirror, AHealthyRegistryIsAskedEvenIfTheMirrorFails) {
  if (!isFetched(GetParam())) GTEST_SKIP() << "scripts/fetch-suites has not fetched " << GetParam();
  ASSERT_NO_FATAL_FAILURE(open(nodeOf(GetParam())));
  auto asked = well_->requests();
  EXPECT_TRUE(pull(onWell()).ok());
  EXPECT_GT(well_->requests(), asked) << "the node's copy was served although the registry is healthy";
  EXPECT_GE(metric("fallbackd_mirror_requests_total{result=\"upstream_well\"}"), 1);
  EXPECT_EQ(metric("fallbackd_mirror_requests_total{result=\"served\"}"), 0);
  // The daemon is killed at any moment while pulls run all the time.
  std::atomic<bool> goOn{true};
  std::atomic<int> pulled{0};
  std::atomic<int> failed{0};
  std::thread puller([&] {
    for (int i = 0; goOn; ++i) {
      const auto outcome = pull(onWell("shop/cart:" + std::to_string(i % 7)));
      ++(outcome.ok() ? pulled : failed);
      if (!outcome.ok()) std::printf("  a healthy pull failed: %s\n", outcome.text.c_str());
    }
  });
  for (int i = 0; i < 3; ++i) {
    const int before = pulled;
    EXPECT_TRUE(waitUntil(kCeiling, [&] { return pulled > before + i || failed > 0; }));
    node_->shop().daemon->kill();
    const int then = pulled;
    EXPECT_TRUE(waitUntil(kCeiling, [&] { return pulled > then + 1 || failed > 0; })) << "without the mirror";
    const auto again = node_->shop().daemon->restart();
    EXPECT_TRUE(again) << again.error().message();
  }
  goOn = false;
  puller.join();
  EXPECT_EQ(failed, 0);
  tell(GetParam(), {json::object{{"case", "killed three times amid healthy pulls"},
                                 {"served", failed == 0},
                                 {"expected", true},
                                 {"pulls", pulled.load()}}});
}

/// On nodes of large providers containerd discards the layers.
TEST_P(Mirror, LayersThatWereDiscardedAreNotNeeded) {
  if (!isFetched(GetParam())) GTEST_SKIP() << "scripts/fetch-suites has not fetched " << GetParam();
  auto options = nodeOf(GetParam());
  options.discardUnpackedLayers = true;
  ASSERT_NO_FATAL_FAILURE(open(std::move(options)));
  // The layer is removed when containerd collects its garbage.
  ASSERT_TRUE(waitUntil(kCeiling, [&] {
    const auto list = node_->shop().node->ctr({"content", "ls", "--quiet"});
    std::size_t lines = 0;
    for (const char c : list.value_or("")) lines += c == '\n' ? 1 : 0;
    static_cast<void>(node_->shop().node->ctr({"content", "prune", "references"}));
    return list && lines <= 3 + 3;  // index, manifest, configuration; the pause image's three
  })) << node_->shop().node->ctr({"content", "ls"}).value_or("");
  E2E_TRY(const auto dead, DeadPort::make());
  E2E_CHECK(node_->enable(dead.address()));
  E2E_CHECK(node_->name(onWell(), dead.address() + "/shop/cart:1"));
  const auto outcome = pull(dead.address() + "/shop/cart:1");
  EXPECT_TRUE(outcome.ok()) << outcome.text << "\n" << node_->shop().daemon->logText();
  EXPECT_EQ(metric("fallbackd_mirror_requests_total{result=\"failed\"}"), 0);
  tell(GetParam(), {json::object{{"case", "layers discarded, registry refused"},
                                 {"served", outcome.ok()},
                                 {"expected", true},
                                 {"ms", toMillis(outcome.took)}}});
}

INSTANTIATE_TEST_SUITE_P(Containerd, Mirror, testing::Values("installed", "trixie", "sid"),
                         [](const auto& one) { return one.param; });

class OneContainerd : public Mirror {};

/// Tests that do not depend on containerd's version.
TEST_P(OneContainerd, ANodeFullOfPodsSharesOneVerdictOfASilentRegistry) {
  ASSERT_NO_FATAL_FAILURE(open({}));
  E2E_TRY(const auto silent, FaultRegistry::start(cartImage(), {.silent = true}));
  E2E_CHECK(node_->enable(silent->address()));
  E2E_CHECK(node_->name(onWell(), silent->address() + "/shop/cart:1"));
  const Stopwatch watch;
  std::vector<std::future<PullOutcome>> pulls;
  for (int i = 0; i < kPodsOfANode; ++i) {
    pulls.push_back(std::async(std::launch::async, [&] { return pull(silent->address() + "/shop/cart:1"); }));
  }
  int served = 0;
  std::string last;
  for (auto& one : pulls) {
    const auto outcome = one.get();
    served += outcome.ok() ? 1 : 0;
    if (!outcome.ok()) last = outcome.text;
  }
  EXPECT_EQ(served, kPodsOfANode) << last << "\n" << node_->shop().daemon->logText();
  const auto ms = watch.millis();
  tell("installed", {json::object{{"case", "110 pulls at once, silent registry"},
                                  {"served", served == kPodsOfANode},
                                  {"expected", true},
                                  {"ms", ms}}});
  std::printf("  110 pulls of a silent registry's image: %.0f ms\n", ms);
  // Each verdict is valid for one second here, and takes three.
  EXPECT_LE(metric("fallbackd_mirror_checks_total{result=\"timeout\"}"), 1 + ms / 3000);
}

/// A real client pulls by tag and by digest; without the token nothing is served.
TEST_P(OneContainerd, ADistributionClientPullsWithTheToken) {
  ASSERT_NO_FATAL_FAILURE(open({}));
  E2E_CHECK(node_->name(onWell(), "registry.invalid/shop/cart:1"));
  const auto copy = [&](const std::string& reference, bool token) {
    const auto folder = makeRunDir("copy");
    Command skopeo{.argv = {"skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"},
                   .env = {{"TMPDIR", folder}},
                   .output = {}};
    if (token) skopeo.argv.push_back("--src-registry-token=" + node_->token());
    skopeo.argv.push_back("docker://" + node_->address() + "/registry.invalid/shop/cart" + reference);
    skopeo.argv.push_back("dir:" + (folder / "image").string());
    const auto done = runOk(skopeo);
    return done ? std::string("copied") : done.error().message();
  };
  EXPECT_EQ(copy(":1", true), "copied");
  EXPECT_EQ(copy("@" + well_->indexDigest(), true), "copied");
  EXPECT_EQ(copy("@" + well_->digest(), true), "copied");
  EXPECT_THAT(copy(":1", false), Not("copied"));
  EXPECT_THAT(copy(":2", true), Not("copied"));
  const auto port =
      static_cast<std::uint16_t>(std::stoul(node_->address().substr(node_->address().rfind(':') + 1)));
  E2E_TRY(const auto answer, httpGet("127.0.0.1", port, "/v2/registry.invalid/shop/cart/manifests/1"));
  EXPECT_EQ(answer.status, 404U);
  EXPECT_EQ(metric("fallbackd_mirror_requests_total{result=\"no_token\"}"), 1);
  EXPECT_GT(metric("fallbackd_mirror_served_bytes_total"), 100'000);
}

/// With policy Always kubelet requests the image from the registry although the node has it; the pull
/// succeeds, so a fallback would only be in the way.
TEST_P(OneContainerd, APodWhoseImageIsOnTheNodeGetsNoFallback) {
  ASSERT_NO_FATAL_FAILURE(open({}));
  E2E_TRY(const auto dead, DeadPort::make());
  const auto image = dead.address() + "/shop/checkout:1.8.3";
  E2E_CHECK(node_->name(onWell(), image));
  auto& shop = node_->shop();
  shop.options.workloadExtra = "  detection: {imagePullPolicy: Always}\n";
  E2E_CHECK(shop.node->speak("http", dead.address()));
  E2E_CHECK(node_->restartDaemon(image));
  const auto waitingState = [&](const std::string& pod) -> std::string {
    const auto all = node_->status();
    if (!all.contains("waiting")) return "";
    for (const auto& one : all.at("waiting").as_array()) {
      if (one.at("pod").as_string() == pod) return std::string(one.at("state").as_string());
    }
    return "";
  };
  // The mirror could serve it, but containerd does not use the mirror for it: the pod is rescued.
  E2E_TRY(const auto rescued, shop.kubelet->startPod(checkoutPod("cart-0")));
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return recoveryState(*shop.daemon, "cart-0") == "ready"; }))
      << shop.daemon->logText();
  E2E_CHECK(shop.kubelet->removePod(rescued));
  E2E_CHECK(node_->enable(dead.address()));
  E2E_TRY(const auto pod, shop.kubelet->startPod(checkoutPod("cart-1")));
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return waitingState("cart-1") == "image present"; }))
      << waitingState("cart-1") << shop.daemon->logText();
  // The daemon knows that the registry is down, and it stays down.
  const double probes = metric("fallbackd_probe_pulls_total");
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return metric("fallbackd_probe_pulls_total") >= probes + 2; }));
  EXPECT_EQ(recoveryState(*shop.daemon, "cart-1"), "");
  const auto pulled = pull(image);
  ASSERT_TRUE(pulled.ok()) << pulled.text;
  E2E_TRY(const auto container, shop.kubelet->createContainer(pod, checkoutContainer(image)));
  E2E_CHECK(shop.kubelet->startContainer(container));
  E2E_TRY(const auto answer, httpGetOk(pod.ip, Shop::kPort, "/"));
  EXPECT_EQ(recoveryState(*shop.daemon, "cart-1"), "");
  tell("installed", {json::object{{"case", "Always, image on the node: no fallback, kubelet's own container"},
                                  {"served", true},
                                  {"expected", true}}});
}

/// Files of others are restored unchanged.
TEST_P(OneContainerd, EnableAndDisableLeaveNoTrace) {
  ASSERT_NO_FATAL_FAILURE(open({}));
  const auto certs = node_->shop().node->registryConfigDir();
  const auto config = node_->shop().node->folder() / "config.toml";
  const auto text = [](const std::filesystem::path& file) {
    std::ifstream in(file);
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  const auto modeOf = [](const std::filesystem::path& file) {
    struct stat facts {};
    return ::stat(file.c_str(), &facts) == 0 ? facts.st_mode & 07777U : 0U;
  };
  const std::string peers = "# spegel\nserver = \"https://peers.test\"\n[host.\"http://127.0.0.1:30020\"]\n";
  std::filesystem::create_directories(certs / "peers.test");
  std::ofstream(certs / "peers.test" / "hosts.toml") << peers;
  ASSERT_EQ(::chmod((certs / "peers.test" / "hosts.toml").c_str(), 0640), 0);
  const std::vector<std::string> both{
      "enable",           "--registry", "peers.test", "--registry",          "new.test",
      "--every-registry", "--order",    "last",       "--containerd-config", config};
  E2E_TRY(const auto would, node_->ctl(both));
  EXPECT_THAT(would, HasSubstr("would change " + (certs / "peers.test/hosts.toml").string()));
  EXPECT_THAT(would, HasSubstr("would make " + (certs / "new.test/hosts.toml").string()));
  EXPECT_THAT(would, HasSubstr("would make " + (certs / "_default/hosts.toml").string()));
  EXPECT_THAT(would, Not(HasSubstr(node_->token())));
  EXPECT_EQ(text(certs / "peers.test/hosts.toml"), peers) << "nothing was to be written";
  auto write = both;
  write.push_back("--write");
  E2E_CHECK(node_->ctl(write));
  const auto changed = text(certs / "peers.test/hosts.toml");
  EXPECT_THAT(changed, HasSubstr("Bearer " + node_->token()));
  EXPECT_THAT(changed, HasSubstr(peers));
  EXPECT_EQ(modeOf(certs / "peers.test/hosts.toml"), 0600U) << "it holds the token";
  EXPECT_EQ(modeOf(certs / "new.test/hosts.toml"), 0600U);
  E2E_TRY(const auto again, node_->ctl(write));
  EXPECT_THAT(again, HasSubstr("nothing to do"));
  EXPECT_EQ(text(certs / "peers.test/hosts.toml"), changed);
  E2E_CHECK(node_->ctl({"disable", "--write"}));
  EXPECT_EQ(text(certs / "peers.test/hosts.toml"), peers);
  EXPECT_EQ(modeOf(certs / "peers.test/hosts.toml"), 0640U);
  EXPECT_FALSE(std::filesystem::exists(certs / "new.test"));
  EXPECT_FALSE(std::filesystem::exists(certs / "_default"));
  EXPECT_THAT(node_->ctl({"disable", "--write"}).value_or(""), HasSubstr("no hosts.toml below"));
  // Its own folder would hide what _default sets; and certificates must not be hidden.
  std::filesystem::create_directories(certs / "_default");
  std::ofstream(certs / "_default" / "hosts.toml") << peers;
  const std::vector<std::string> one{"enable", "--registry", "new.test", "--containerd-config",
                                     config,   "--write"};
  EXPECT_THAT(node_->ctl(one).value_or(""), HasSubstr("containerd uses " + (certs / "_default").string()));
  EXPECT_FALSE(std::filesystem::exists(certs / "new.test"));
  EXPECT_THAT(text(certs / "_default/hosts.toml"), HasSubstr(node_->token()));
  E2E_CHECK(node_->ctl({"disable", "--write"}));
  EXPECT_EQ(text(certs / "_default/hosts.toml"), peers);
  std::filesystem::create_directories(certs / "new.test");
  std::ofstream(certs / "new.test" / "ca.crt") << "x";
  EXPECT_FALSE(node_->ctl(one));
  EXPECT_FALSE(std::filesystem::exists(certs / "new.test/hosts.toml"));
  std::filesystem::remove(certs / "new.test" / "ca.crt");
  std::filesystem::remove(certs / "new.test");
  // A command without an effect is refused, with a way out.
  std::ofstream(config, std::ios::trunc) << "version = 3\n";
  EXPECT_FALSE(node_->ctl(write));
  write.push_back("--best-effort");
  EXPECT_TRUE(node_->ctl(write)) << "an init container must not keep the daemon from its node";
  EXPECT_FALSE(std::filesystem::exists(certs / "new.test"));
}

INSTANTIATE_TEST_SUITE_P(Node, OneContainerd, testing::Values("installed"),
                         [](const auto& one) { return one.param; });

}  // namespace
}  // namespace fallbackd::e2e
