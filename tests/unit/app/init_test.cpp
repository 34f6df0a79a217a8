// SPDX-License-Identifier: Apache-2.0
// fallbackctl init as a person runs it: kubectl's output goes in, a configuration comes out.
#include "config/load.hpp"
#include "shell.hpp"
#include "temp_folder.hpp"

#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fallbackd {
namespace {

using test::Output;
using test::shell;
using testing::HasSubstr;
using testing::Not;

struct InitTest : testing::Test {
  Output init(const std::string& input) {
    return shell(std::string(FALLBACKCTL) + " init < " + input + " > " + out() + " && cat " + out());
  }
  [[nodiscard]] std::string out() const { return folder.path() + "/fallbackd.yaml"; }
  std::string write(const std::string& text) {
    const auto file = folder.path() + "/input.yaml";
    std::ofstream(file) << text;
    return file;
  }
  test::TempFolder folder;
};

TEST_F(InitTest, TakesOverWhatItCanAndListsTheRest) {
  const auto output = init(FIXTURES "/deployment.yaml");
  ASSERT_EQ(output.code, 0) << output.text;
  const auto loaded = config::load(out(), {});
  ASSERT_NE(loaded.config, nullptr) << loaded.diagnostics[0].toString();
  ASSERT_EQ(loaded.config->workloads.size(), 3U);
  const auto& checkout = loaded.config->workloads[0];
  EXPECT_EQ(checkout.name, "checkout");
  EXPECT_EQ(checkout.match.namespaceName, "shop");
  EXPECT_EQ(checkout.match.labels, (std::map<std::string, std::string>{{"app", "checkout"}}));
  EXPECT_EQ(checkout.image, "registry.example.com:5000/shop/checkout:v1.8.3");
  EXPECT_EQ(checkout.binary.toString(), "checkout@1.8.3");
  EXPECT_EQ(checkout.args,
            (std::vector<std::string>{"serve", "--port=8080", "--greeting=a \"quoted\" word"}));
  EXPECT_EQ(checkout.workingDir, "/srv");
  EXPECT_EQ(checkout.user.uid, 1000U);
  EXPECT_EQ(checkout.user.gid, 1001U);
  EXPECT_EQ(checkout.user.groups, (std::vector<gid_t>{2000}));
  ASSERT_EQ(checkout.volumes.size(), 2U);
  EXPECT_EQ(checkout.volumes[0].mountPath, "/etc/app");
  EXPECT_FALSE(checkout.volumes[1].readOnly);
  EXPECT_EQ(std::get<config::ReadyWhenHttp>(checkout.readiness.when).port, 8080);
  EXPECT_EQ(std::get<config::ReadyWhenHttp>(checkout.readiness.when).path, "/ready");
  EXPECT_EQ(checkout.resources.memoryBytes, 64U << 20);
  EXPECT_EQ(checkout.terminationGrace, std::chrono::seconds(20));
  EXPECT_EQ(checkout.detection.pullPolicy, config::PullPolicy::always);
  EXPECT_EQ(checkout.startAfter, (std::vector<std::string>{"migrate"}));
  for (const char* named : {"env PASSWORD comes from a secretKeyRef", "envFrom is not taken over",
                            "volume data at /data", "capabilities are not taken over: NET_BIND_SERVICE",
                            "livenessProbe is not taken over", "\"/app/checkout\" is started"}) {
    EXPECT_THAT(output.text, HasSubstr(named));
  }
  EXPECT_THAT(output.text, Not(HasSubstr("last-applied")));
  // Two containers of one pod are two workloads; a digest is not a version.
  EXPECT_EQ(loaded.config->workloads[1].name, "queue-queue");
  EXPECT_EQ(loaded.config->workloads[2].name, "queue-sidecar");
  EXPECT_EQ(loaded.config->workloads[2].binary.toString(), "sidecar@2.0.0");
  EXPECT_THAT(output.text, HasSubstr("the image's tag is not a version"));
}

TEST_F(InitTest, RefusesObjectsThatDoNotCreatePods) {
  for (const auto& [text, says] : {std::pair{"kind: Service\nspec: {}\n", "Service has no pod template"},
                                   std::pair{"hello: world\n", "is not a Kubernetes object"},
                                   std::pair{"", "is empty"}, std::pair{"a: [", "malformed"}}) {
    const auto output = init(write(text));
    EXPECT_EQ(output.code, 2) << text;
    EXPECT_THAT(output.text, HasSubstr(says));
  }
}

/// A name from a pod must not become YAML syntax.
TEST_F(InitTest, NothingEscapesFromItsQuotes) {
  const auto output =
      init(write("kind: Pod\nmetadata: {name: \"x\\nworkloads: []\", labels: {a: \"b\\\", c: d\"}}\n"
                 "spec: {containers: [{name: \"y\\n# z\", image: \"i:1\\n  - name: evil\"}]}\n"));
  const auto loaded = config::load(out(), {});
  EXPECT_EQ(loaded.config, nullptr) << "the names are refused as invalid";
  for (const auto& one : loaded.diagnostics) EXPECT_THAT(one.toString(), Not(HasSubstr("malformed")));
  EXPECT_THAT(output.text, Not(HasSubstr("\n  - name: evil")));
}

}  // namespace
}  // namespace fallbackd
