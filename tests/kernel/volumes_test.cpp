// SPDX-License-Identifier: Apache-2.0
// The pod's volumes inside a fallback.
#include "base/strings.hpp"
#include "launch_fixture.hpp"

#include <cerrno>
#include <map>
#include <sstream>
#include <string>
#include <sys/mount.h>
#include <sys/stat.h>
#include <utility>

#include <gmock/gmock.h>

namespace fallbackd::test {

using config::Volume;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;

class Volumes : public LaunchTest {
 protected:
  /// Like kubelet's ConfigMaps: the key is a symlink into a folder that is replaced as a whole.
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

TEST_F(Volumes, EmptyDirIsWritableAndSubPathsAreCreated) {
  const auto volume = makeVolume("empty-dir", "scratch");
  ::chmod(volume.c_str(), 0777);
  auto wanted = request({"report"});
  wanted.workload.volumes = {{Volume::Kind::empty_dir, "scratch", "/scratch", "a/b", false}};
  EXPECT_EQ(reportOf(std::move(wanted)).number("write.scratch"), 0);
  EXPECT_TRUE(std::filesystem::exists(volume / "a" / "b" / "new"));
}

TEST_F(Volumes, AreNosuidNodevAndSeparateFromTheHost) {
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
  EXPECT_TRUE(std::filesystem::exists(outer / "app"));  // the mount point, as a runtime creates it
}

TEST_F(Volumes, EveryFolderOnTheWayIsMade) {
  const auto outer = makeVolume("empty-dir", "outer");
  makeConfigMap("certs", "tls.crt", "webhook\n");
  makeConfigMap("settings", "config.yaml", "inner\n");
  auto wanted = request({"report"});
  wanted.workload.volumes = {
      {Volume::Kind::config_map, "certs", "/tmp/k8s-webhook-server/serving-certs", "", true},
      {Volume::Kind::config_map, "settings", "/tmp/conf/app/config.yaml", "config.yaml", true},
      {Volume::Kind::config_map, "settings", "/etc/app", "", true},
      {Volume::Kind::empty_dir, "outer", "/data", "", false},
      {Volume::Kind::config_map, "settings", "/data/a/b/c", "", true}};
  const auto seen = reportOf(std::move(wanted));
  EXPECT_THAT(seen.all("mount"),
              IsSupersetOf({HasSubstr(" /tmp/k8s-webhook-server/serving-certs "),
                            HasSubstr(" /tmp/conf/app/config.yaml "), HasSubstr(" /data/a/b/c ")}));
  EXPECT_THAT(seen.all("file.config"), ElementsAre("inner"));
  EXPECT_TRUE(std::filesystem::is_directory(outer / "a/b/c"));
}

TEST_F(Volumes, AVolumeBelowTheSandboxsMemoryIsNotCovered) {
  makeVolume("empty-dir", "cache");
  auto wanted = request({"report"});
  wanted.workload.volumes = {{Volume::Kind::empty_dir, "cache", "/dev/shm/cache", "", false}};
  std::map<std::string, std::pair<std::string, std::string>>
      mounts;  // by path: its mount ID and its parent's
  for (const auto& line : reportOf(std::move(wanted)).all("mount")) {
    std::istringstream words(line);
    std::string number, parent, device, root, path;
    words >> number >> parent >> device >> root >> path;
    mounts[path] = {number, parent};
  }
  ASSERT_TRUE(mounts.contains("/dev/shm"));
  EXPECT_EQ(mounts["/dev/shm/cache"].second, mounts["/dev/shm"].first);
}

TEST_F(Volumes, AMissingVolumeIsNamed) {
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
  writeText(folder / "elsewhere" / "passwd", "not the pod's\n");
  std::filesystem::create_symlink(folder / "elsewhere", volume / "absolute");
  std::filesystem::create_symlink("../../../../..", volume / "upwards");
  for (const char* subPath : {"absolute", "upwards", "..", "absolute/passwd"}) {
    auto wanted = request({"report"});
    wanted.workload.volumes = {{Volume::Kind::empty_dir, "scratch", "/scratch", subPath, false}};
    const auto process = launch(std::move(wanted));
    ASSERT_FALSE(process) << subPath;
    EXPECT_EQ(process.error().reason, Reason::unsafe_path) << subPath << ": " << process.error().message();
  }
}

/// kubelet creates no symlink there, and a link to another pod's volume is not this pod's volume.
TEST_F(Volumes, AVolumeThatIsASymlinkIsRefused) {
  const auto volume = makeVolume("empty-dir", "other");
  std::filesystem::create_directory_symlink("other", volume.parent_path() / "link");
  auto wanted = request({"report"});
  wanted.workload.volumes = {{Volume::Kind::empty_dir, "link", "/scratch", "", false}};
  EXPECT_EQ(launch(std::move(wanted)).error().reason, Reason::unsafe_path);
}

TEST_F(Volumes, ASharedMemoryFolderThatIsASymlinkIsRefused) {
  std::filesystem::create_directory_symlink(sandbox->status().shmPath, folder / "link");
  auto wanted = request({"report"});
  wanted.sandbox.shmPath = folder / "link";
  EXPECT_FALSE(launch(std::move(wanted)));
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

TEST_F(Volumes, InvalidNamesAreRefused) {
  for (const char* name : {"..", "a/b", ""}) {
    auto wanted = request({"report"});
    std::filesystem::create_directories(folder / "pods");
    wanted.workload.volumes = {{Volume::Kind::config_map, name, "/etc/app", "", true}};
    const auto process = launch(std::move(wanted));
    ASSERT_FALSE(process) << name;
    EXPECT_EQ(process.error().reason, Reason::invalid) << name;
  }
}

TEST_F(Volumes, CsiVolumeByNameOrIfItIsTheOnlyOne) {
  writeText(makeVolume("csi", "pvc-1") / "mount" / "config.yaml", "from a driver\n");
  auto wanted = request({"report"});
  wanted.workload.volumes = {{Volume::Kind::csi, "", "/etc/app", "", true}};
  EXPECT_THAT(reportOf(wanted).all("file.config"), ElementsAre("from a driver"));
  writeText(makeVolume("csi", "pvc-2") / "mount" / "config.yaml", "from a second driver\n");
  const auto ambiguous = launch(wanted);
  ASSERT_FALSE(ambiguous);
  EXPECT_THAT(ambiguous.error().message(), HasSubstr("2 CSI volumes (pvc-1, pvc-2)"));
  wanted = request({"report"});
  wanted.workload.volumes = {{Volume::Kind::csi, "pvc-2", "/etc/app", "", false}};
  EXPECT_THAT(reportOf(wanted).all("file.config"), ElementsAre("from a second driver"));
}

TEST_F(Volumes, HostPathBelowAnAllowedFolderOnly) {
  const auto shared = folder / "shared";
  writeText(shared / "app" / "config.yaml", "of the node\n");
  writeText(folder / "elsewhere" / "config.yaml", "not shared\n");
  std::filesystem::create_symlink(folder / "elsewhere", shared / "out");
  const auto ask = [&](const std::string& path) {
    auto wanted = request({"report"});
    std::filesystem::create_directories(folder / "pods");
    wanted.workload.volumes = {{Volume::Kind::host_path, "data", "/etc/app", "", true, path}};
    return wanted;
  };
  EXPECT_EQ(launch(ask(shared / "app")).error().reason, Reason::not_permitted);
  auto allowing = options();
  allowing.allowedHostPaths = {shared};
  launcherWith(allowing);
  EXPECT_THAT(reportOf(ask(shared / "app")).all("file.config"), ElementsAre("of the node"));
  EXPECT_EQ(launch(ask(shared / "out")).error().reason, Reason::unsafe_path);
  EXPECT_EQ(launch(ask(shared.string() + "-other")).error().reason, Reason::not_permitted);
  EXPECT_EQ(launch(ask(shared / "none")).error().reason, Reason::volume_missing);
}

TEST_F(Volumes, VariablesFromFiles) {
  const auto secret = makeVolume("secret", "api");
  writeText(secret / "..2026" / "token", "s3cr3t");
  std::filesystem::create_directory_symlink("..2026", secret / "..data");
  std::filesystem::create_symlink("..data/token", secret / "token");
  writeText(folder / "elsewhere", "not the pod's\n");
  std::filesystem::create_symlink(folder / "elsewhere", secret / "hostile");
  auto wanted = request({"report"});
  wanted.workload.volumes = {{Volume::Kind::secret, "api", "/etc/api", "", true}};
  wanted.workload.env = {{"PLAIN", "x"}};
  wanted.workload.envFiles = {{"TOKEN", "/etc/api/token"}};
  const auto seen = reportOf(wanted);
  EXPECT_THAT(seen.all("env"), ::testing::IsSupersetOf({"PLAIN=x", "TOKEN=s3cr3t"}));
  wanted.workload.envFiles = {{"TOKEN", "/etc/api/hostile"}};
  EXPECT_EQ(launch(wanted).error().reason, Reason::unsafe_path);
  wanted.workload.envFiles = {{"TOKEN", "/etc/api/none"}};
  EXPECT_EQ(launch(wanted).error().reason, Reason::volume_missing);
  wanted.workload.envFiles = {{"TOKEN", "/etc/api"}};
  EXPECT_EQ(launch(wanted).error().reason, Reason::unsafe_file_type);
  writeText(secret / "huge", std::string(100'000, 'x'));
  wanted.workload.envFiles = {{"TOKEN", "/etc/api/huge"}};
  EXPECT_EQ(launch(wanted).error().reason, Reason::too_large);
  writeText(secret / "zero", std::string("a\0b", 3));
  wanted.workload.envFiles = {{"TOKEN", "/etc/api/zero"}};
  EXPECT_EQ(launch(wanted).error().reason, Reason::invalid);
}

TEST_F(Volumes, CertificatesAndTimeZonesOfTheNodeOnRequest) {
  writeText(folder / "node" / "certificates.crt", "PEM\n");
  writeText(folder / "node" / "zones" / "UTC", "TZif\n");
  auto given = options();
  given.caCertificates = folder / "node" / "certificates.crt";
  given.zoneInfo = folder / "node" / "zones";
  launcherWith(given);
  EXPECT_EQ(reportOf(request({"report"})).number("read.certificates"), -ENOENT);
  auto wanted = request({"report"});
  wanted.workload.caCertificates = true;
  wanted.workload.timeZoneData = true;
  const auto seen = reportOf(std::move(wanted));
  for (const auto& line : seen.all("mount")) {
    const auto words = split(line, ' ');
    if (words.at(4) != "/etc/ssl/certs/ca-certificates.crt") continue;
    EXPECT_THAT(std::string(words.at(5)), ::testing::HasSubstr("noexec"));
    EXPECT_TRUE(words.at(5).starts_with("ro,")) << line;
  }
  EXPECT_EQ(seen.number("read.certificates"), 1);
  EXPECT_EQ(seen.number("read.zone"), 1);
}

}  // namespace fallbackd::test
