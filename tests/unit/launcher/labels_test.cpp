// SPDX-License-Identifier: Apache-2.0
// Which labels a node's security modules require, with fake /proc and /sys trees.
#include "launcher/confinement/labels.hpp"

#include "temp_folder.hpp"

#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>

namespace fallbackd::launcher {
namespace {

using config::SecurityProfile;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class Labels : public ::testing::Test {
 protected:
  void write(const std::string& path, const std::string& text) const {
    const std::filesystem::path file = std::filesystem::path(folder.path()) / path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  void appArmor(const std::string& profiles) const {
    write("sys/module/apparmor/parameters/enabled", "Y\n");
    write("sys/kernel/security/apparmor/profiles", profiles);
    write("proc/self/attr/apparmor/exec", "");
  }
  Result<std::vector<ProcessAttribute>> labels() {
    return processLabels(
        {std::filesystem::path(folder.path()) / "proc", std::filesystem::path(folder.path()) / "sys"}, 42,
        security, notes);
  }
  test::TempFolder folder;
  config::Security security;
  std::vector<std::string> notes;
};

std::vector<std::string> written(const Result<std::vector<ProcessAttribute>>& labels) {
  std::vector<std::string> all;
  for (const auto& one : *labels) all.push_back(one.file + "=" + one.value);
  return all;
}

TEST_F(Labels, NothingOnANodeWithoutModules) {
  write("proc/filesystems", "nodev\tproc\n\text4\n");
  EXPECT_THAT(*labels(), IsEmpty());
  write("sys/module/apparmor/parameters/enabled", "N\n");
  EXPECT_THAT(*labels(), IsEmpty());
  EXPECT_THAT(notes, IsEmpty());
}

TEST_F(Labels, TheDefaultProfileOfContainers) {
  appArmor("cri-containerd.apparmor.d (enforce)\nother (complain)\n");
  EXPECT_THAT(written(labels()), ElementsAre("attr/apparmor/exec=exec cri-containerd.apparmor.d"));
  std::filesystem::remove_all(std::filesystem::path(folder.path()) / "proc");  // a kernel before 5.8
  EXPECT_THAT(written(labels()), ElementsAre("attr/exec=exec cri-containerd.apparmor.d"));
}

TEST_F(Labels, AMissingDefaultProfileIsReported) {
  appArmor("other (enforce)\n");
  EXPECT_THAT(*labels(), IsEmpty());
  EXPECT_THAT(notes, ElementsAre(HasSubstr("not loaded")));
}

TEST_F(Labels, ANamedProfileMustBeLoaded) {
  security.appArmor = {SecurityProfile::Type::localhost, "k8s-shop"};
  EXPECT_EQ(labels().error().reason, Reason::unavailable);  // no AppArmor
  appArmor("k8s-shop-other (enforce)\n");
  EXPECT_EQ(labels().error().reason, Reason::not_found);
  appArmor("k8s-shop (enforce)\n");
  EXPECT_THAT(written(labels()), ElementsAre("attr/apparmor/exec=exec k8s-shop"));
  // Containers have no securityfs: then the kernel reports a missing profile only at the write.
  std::filesystem::remove_all(std::filesystem::path(folder.path()) / "sys/kernel");
  EXPECT_THAT(written(labels()), ElementsAre("attr/apparmor/exec=exec k8s-shop"));
}

TEST_F(Labels, UnconfinedMeansNoLabel) {
  appArmor("cri-containerd.apparmor.d (enforce)\n");
  security.appArmor.type = SecurityProfile::Type::unconfined;
  EXPECT_THAT(*labels(), IsEmpty());
}

TEST_F(Labels, SeLinuxUsesTheSandboxesLabelOrTheWorkloads) {
  write("proc/filesystems", "nodev\tselinuxfs\n");
  EXPECT_FALSE(labels());  // the pod's label is unknown
  write("proc/42/attr/current", std::string("system_u:system_r:container_t:s0:c1,c2\0", 39));
  EXPECT_THAT(written(labels()), ElementsAre("attr/exec=system_u:system_r:container_t:s0:c1,c2"));
  security.seLinuxLabel = "system_u:system_r:other_t:s0";
  EXPECT_THAT(written(labels()), ElementsAre("attr/exec=system_u:system_r:other_t:s0"));
}

TEST(FileLabels, LoseTheirCategories) {
  EXPECT_EQ(withoutCategories("system_u:object_r:container_file_t:s0:c1,c2"),
            "system_u:object_r:container_file_t:s0");
  EXPECT_EQ(withoutCategories("system_u:object_r:container_file_t:s0-s0:c0.c1023"),
            "system_u:object_r:container_file_t:s0");
  EXPECT_EQ(withoutCategories("system_u:object_r:container_file_t:s0"),
            "system_u:object_r:container_file_t:s0");
  EXPECT_EQ(withoutCategories("system_u:object_r:container_file_t"), "system_u:object_r:container_file_t")
      << "no levels";
}

}  // namespace
}  // namespace fallbackd::launcher
