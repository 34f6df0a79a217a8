// SPDX-License-Identifier: Apache-2.0
// Which texts are image references, checked against the real containerd: it refuses what we refuse, and
// stores what it accepts under the name that we give it.
#include "containerd_node.hpp"
#include "domain/image_reference.hpp"
#include "e2e_gtest.hpp"
#include "fault_registry.hpp"
#include "kubelet/kubelet.hpp"

#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

using namespace std::chrono_literals;

/// Whether containerd accepts the reference and tries to pull it.
bool takes(Kubelet& kubelet, const std::string& reference) {
  const auto outcome = kubelet.pullImage(reference, "", 5s);
  return outcome.ok() || outcome.text.find("failed to parse image reference") == std::string::npos;
}

/// Parameter: the containerd, "installed" or the suite that scripts/fetch-suites took it from.
class Reference : public testing::TestWithParam<std::string> {
 protected:
  void open();
  std::unique_ptr<ContainerdNode> node_;
};

void Reference::open() {
  NodeOptions options;
  if (GetParam() != "installed") {
    options.binDir = std::filesystem::path(FALLBACKD_CONTAINERDS) / GetParam();
    if (!std::filesystem::exists(*options.binDir / "containerd")) {
      GTEST_SKIP() << "scripts/fetch-suites has not fetched the containerd of " << GetParam();
    }
  }
  E2E_TRY(node_, ContainerdNode::start(options));
}

TEST_P(Reference, ContainerdAcceptsAndRefusesTheSame) {
  ASSERT_NO_FATAL_FAILURE(open());
  if (IsSkipped()) return;
  Kubelet kubelet(*node_);
  // Accepted by later versions; 1.6 refuses them during the pull.
  const std::set<std::string> notYetIn16{"REGISTRY/a", "[::1]:1/a", "[::1]/a"};
  const bool is16 = node_->version().starts_with("1.6.");
  const std::string digest = "sha256:" + std::string(64, 'a');
  // Nothing listens at these hosts, and no name resolves here.
  const std::vector<std::string> references{"nginx",
                                            "127.0.0.1:1/a:1",
                                            "127.0.0.1:1/a:1:2",
                                            "127.0.0.1:1/A",
                                            "127.0.0.1:1/a:B",
                                            "localhost:1/a",
                                            "r.invalid/a@" + digest,
                                            "r.invalid/a:1@" + digest,
                                            "r.invalid/a@sha256:zz",
                                            "@sha256:zz",
                                            ":tag",
                                            "r.invalid/a@sha512:" + std::string(128, 'a'),
                                            "r.invalid/a@sha384:" + std::string(96, 'a'),
                                            "r.invalid/a@md5:" + std::string(32, 'a'),
                                            "r.invalid/a@sha256:" + std::string(64, 'A'),
                                            "r.invalid/" + std::string(200, 'a'),
                                            "r.invalid/" + std::string(256, 'a'),
                                            "r.invalid/a:" + std::string(128, 't'),
                                            "r.invalid/a:" + std::string(129, 't'),
                                            std::string(64, 'a'),
                                            "r.invalid/" + std::string(64, 'a'),
                                            "r.invalid/a_b",
                                            "r.invalid/a__b",
                                            "r.invalid/a___b",
                                            "r.invalid/a--b",
                                            "r.invalid/a..b",
                                            "r.invalid/a_.b",
                                            "r.invalid/-a",
                                            "r.invalid/a-",
                                            "r.invalid//a",
                                            "r.invalid/a/",
                                            "my_registry.invalid/a",
                                            "my_registry.invalid:1/a",
                                            "-r.invalid/a",
                                            "r.invalid:/a",
                                            "r.invalid:x/a",
                                            "REGISTRY/a",
                                            "Registry/A",
                                            "https://r.invalid/a",
                                            "r.invalid/a b",
                                            "r.invalid/a: connect: connection refused",
                                            "sha256:zz",
                                            "a@b@c",
                                            "[::1]:1/a",
                                            "[::1]/a",
                                            "[::1",
                                            "[fe80::1%eth0]:1/a"};
  for (const auto& reference : references) {
    const bool expected = ImageReference::parse(reference) && !(is16 && notYetIn16.contains(reference));
    EXPECT_EQ(takes(kubelet, reference), expected) << reference << " on containerd " << node_->version()
                                                   << ": " << kubelet.pullImage(reference, "", 5s).text;
  }
}

TEST_P(Reference, ContainerdStoresAnImageUnderTheNameThatWeGiveIt) {
  ASSERT_NO_FATAL_FAILURE(open());
  if (IsSkipped()) return;
  const Image image{.reference = "shop/checkout:1", .files = {}, .entrypoint = {"/x"}, .env = {}};
  E2E_TRY(const auto registry, FaultRegistry::start(image, {}));
  E2E_CHECK(node_->speak("http", registry->address()));
  Kubelet kubelet(*node_);
  for (const auto& written : {registry->address() + "/a/b", registry->address() + "/c:1",
                              registry->address() + "/d@" + registry->digest(),
                              registry->address() + "/e:1@" + registry->digest()}) {
    const auto outcome = kubelet.pullImage(written, "", 20s);
    ASSERT_TRUE(outcome.ok()) << outcome.text;
    E2E_TRY(const auto names, node_->ctr({"images", "list", "--quiet"}));
    EXPECT_THAT(names, testing::HasSubstr(ImageReference::parse(written)->toString() + "\n")) << written;
  }
}

INSTANTIATE_TEST_SUITE_P(Containerd, Reference, testing::Values("installed", "trixie", "sid"),
                         [](const auto& one) { return one.param; });

}  // namespace
}  // namespace fallbackd::e2e
