// SPDX-License-Identifier: Apache-2.0
#include "app/covered_pods.hpp"

#include <gtest/gtest.h>

namespace fallbackd::app {
namespace {

class CoveredPods : public testing::Test {
 protected:
  CoveredPods() {
    pod.namespaceName = "shop";
    pod.name = "web-0";
    pod.uid = "uid-1";
    pod.labels = {{"app", "checkout"}};
  }
  config::Workload& workload() {
    auto& one = config.workloads.emplace_back();
    one.match = {"shop", {{"app", "checkout"}}, "checkout"};
    one.inheritance.on = true;
    return one;
  }

  config::Config config;
  kube::PodObject pod;
};

TEST_F(CoveredPods, NothingIsAskedForPodsThatNothingCovers) {
  EXPECT_FALSE(mayInherit(config, pod));
  workload().match.labels = {{"app", "cart"}};
  workload().match.namespaceName = "bank";
  EXPECT_FALSE(mayInherit(config, pod));
}

TEST_F(CoveredPods, AWorkloadThatInheritsCounts) {
  auto& one = workload();
  EXPECT_TRUE(mayInherit(config, pod));
  one.inheritance.on = false;
  EXPECT_FALSE(mayInherit(config, pod)) << "it takes nothing from the pod";
}

TEST_F(CoveredPods, AnAnnotationCountsWhereItIsPermitted) {
  pod.annotations = {{"fallbackd.io/binary.checkout", "checkout@1.8.3"}};
  EXPECT_FALSE(mayInherit(config, pod));
  config.podAnnotations.namespaces = {"bank"};
  EXPECT_FALSE(mayInherit(config, pod));
  config.podAnnotations.namespaces = {"shop"};
  EXPECT_TRUE(mayInherit(config, pod));
  config.podAnnotations.binaries = {{"checkout", {"bank"}}};
  EXPECT_FALSE(mayInherit(config, pod)) << "only a different namespace may choose that binary";
  pod.annotations = {{"fallbackd.io/binary.checkout", "not a reference"}};
  EXPECT_FALSE(mayInherit(config, pod));
}

}  // namespace
}  // namespace fallbackd::app
