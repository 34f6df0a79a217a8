// The pod's volumes inside a fallback.
#include "base/strings.hpp"
#include "launch_fixture.hpp"

#include <cerrno>
#include <sys/mount.h>
#include <sys/stat.h>

#include <gmock/gmock.h>

namespace fallbackd::test {

using config::Volume;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Volumes : public LaunchTest {
 protected:
  /// As kubelet writes a ConfigMap: the key is a symlink into a folder that is swapped as a whole.
  void makeConfigMap(const std::string& name, const std::string& key, const std::string& text) {
    const auto volume = makeVolume("configmap", name);
    writeText(volume / "..2026" / key, text);
    std::filesystem::create_directory_symlink("..2026", volume / "..data");
    std::filesystem::create_symlink("..data/" + key, volume / key);
  }
};

TEST_F(Volumes, ConfigMapIsReadableAndReadOnly) {
  makeConfigMap("settings", "config.yaml", "colour: blue\n");
  auto wanted = request({"report"});
  wanted.workload.volumes = {{Volume::Kind::config_map, "settings", "/etc/app/", "", false}};
  const auto seen = reportOf(std::move(wanted));
  EXPECT_THAT(seen.all("file.config"), ElementsAre("colour: blue"));
  EXPECT_EQ(seen.number("write.config"), EROFS);  // even where the configuration says writable
}

TEST_F(Volumes, SubPathOfOneFile) {
  makeConfigMap("settings", "one.conf", "alone\n");
  auto wanted = request({"report"});
  wanted.workload.volumes = {{Volume::Kind::config_map, "settings", "/etc/one.conf", "one.conf", true}};
  EXPECT_THAT(reportOf(std::move(wanted)).all("file.sub"), ElementsAre("alone"));
}

TEST_F(Volumes, EmptyDirIsWritableAndSubPathsAreMade) {
  const auto volume = makeVolume("empty-dir", "scratch");
  ::chmod(volume.c_str(), 0777);
  auto wanted = request({"report"});
  wanted.workload.volumes = {{Volume::Kind::empty_dir, "scratch", "/scratch", "a/b", false}};
  EXPECT_EQ(reportOf(std::move(wanted)).number("write.scratch"), 0);
  EXPECT_TRUE(std::filesystem::exists(volume / "a" / "b" / "new"));
}

TEST_F(Volumes, AreNosuidNodevAndApartFromTheHost) {
  const auto volume = makeVolume("empty-dir", "scratch");
  ASSERT_EQ(::mount("vol", volume.c_str(), "tmpfs", 0, nullptr), 0);
  ASSERT_EQ(::mount(nullptr, volume.c_str(), nullptr, MS_SHARED, nullptr), 0);
  auto wanted = request({"report"});
  wanted.workload.volumes = {{Volume::Kind::empty_dir, "scratch", "/scratch", "", false}};
  const auto seen = reportOf(std::move(wanted));
  std::string line;
  for (const auto& mount : seen.all("mount")) {
    if (mount.find(" /scratch ") != std::string::npos) line = mount;
  }
  EXPECT_THAT(line, HasSubstr("rw,nosuid,nodev"));
  EXPECT_EQ(line.find("shared:"), std::string::npos) << line;
  ::umount2(volume.c_str(), MNT_DETACH);
}

TEST_F(Volumes, OneInsideAnother) {
  const auto outer = makeVolume("empty-dir", "outer");
  makeConfigMap("settings", "config.yaml", "inner\n");
  auto wanted = request({"report"});
  wanted.workload.volumes = {{Volume::Kind::config_map, "settings", "/etc/app", "", true},
                             {Volume::Kind::empty_dir, "outer", "/etc", "", false}};
  EXPECT_THAT(reportOf(std::move(wanted)).all("file.config"), ElementsAre("inner"));
  EXPECT_TRUE(std::filesystem::exists(outer / "app"));  // the mount point, as a runtime makes it
}

TEST_F(Volumes, MissingOneIsNamed) {
  makeVolume("secret", "other");
  auto wanted = request({"report"});
  wanted.workload.volumes = {{Volume::Kind::secret, "tls-key", "/etc/tls", "", true}};
  const auto process = launch(std::move(wanted));
  ASSERT_FALSE(process);
  EXPECT_EQ(process.error().stage, Stage::rootfs);
  EXPECT_EQ(process.error().reason, Reason::volume_missing);
  EXPECT_THAT(process.error().message(), HasSubstr("tls-key"));
}

TEST_F(Volumes, SubPathThatLeadsOutIsRefused) {
  const auto volume = makeVolume("empty-dir", "scratch");
  std::filesystem::create_symlink("/etc", volume / "absolute");
  std::filesystem::create_symlink("../../../../..", volume / "upwards");
  for (const char* subPath : {"absolute", "upwards", "..", "absolute/passwd"}) {
    auto wanted = request({"report"});
    wanted.workload.volumes = {{Volume::Kind::empty_dir, "scratch", "/scratch", subPath, false}};
    const auto process = launch(std::move(wanted));
    ASSERT_FALSE(process) << subPath;
    EXPECT_EQ(process.error().reason, Reason::unsafe_path) << subPath << ": " << process.error().message();
  }
}

TEST_F(Volumes, MountPointThroughAHostileSymlinkIsRefused) {
  const auto outer = makeVolume("empty-dir", "outer");
  std::filesystem::create_symlink("/proc/self/fd", outer / "link");
  makeConfigMap("settings", "config.yaml", "x\n");
  auto wanted = request({"report"});
  wanted.workload.volumes = {{Volume::Kind::empty_dir, "outer", "/outer", "", false},
                             {Volume::Kind::config_map, "settings", "/outer/link/sub", "", true}};
  const auto process = launch(std::move(wanted));
  ASSERT_FALSE(process);
  EXPECT_EQ(process.error().reason, Reason::unsafe_path) << process.error().message();
}

TEST_F(Volumes, NamesThatAreNoNamesAreRefused) {
  for (const char* name : {"..", "a/b", ""}) {
    auto wanted = request({"report"});
    std::filesystem::create_directories(folder / "pods");
    wanted.workload.volumes = {{Volume::Kind::config_map, name, "/etc/app", "", true}};
    const auto process = launch(std::move(wanted));
    ASSERT_FALSE(process) << name;
    EXPECT_EQ(process.error().reason, Reason::invalid) << name;
  }
}

}  // namespace fallbackd::test
