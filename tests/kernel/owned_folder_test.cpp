// SPDX-License-Identifier: Apache-2.0
// Removal cannot leave its folder. All tests work below one scratch folder.
#include "sys/owned_folder.hpp"

#include "launch_fixture.hpp"
#include "sys/file.hpp"

#include <filesystem>
#include <sys/mount.h>
#include <sys/stat.h>

namespace fallbackd::test {

namespace {

namespace fs = std::filesystem;

class OwnedFolders : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root: mounts and owners";
    std::string pattern = fs::temp_directory_path() / "o.XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    scratch_ = pattern;
    writeText(scratch_ / "victim" / "precious", "precious\n");
    fs::create_directory(scratch_ / "own");
    auto dir = sys::openDir(Stage::logs, scratch_ / "own");
    ASSERT_TRUE(dir);
    auto taken = sys::OwnedFolder::take(Stage::logs, std::move(*dir), "own");
    ASSERT_TRUE(taken) << taken.error().message();
    own_.emplace(std::move(*taken));
  }
  void TearDown() override {
    if (scratch_.empty()) return;
    EXPECT_EQ(contentOf(scratch_ / "victim" / "precious"), "precious\n");
    fs::remove_all(scratch_);
  }
  [[nodiscard]] Result<> remove(const std::string& name) const {
    return sys::removeTree(Stage::logs, *own_, name);
  }
  [[nodiscard]] Reason refusal(const std::string& name) const {
    const auto removed = remove(name);
    EXPECT_FALSE(removed) << name;
    return removed ? Reason::internal : removed.error().reason;
  }
  fs::path scratch_;
  std::optional<sys::OwnedFolder> own_;
};

TEST_F(OwnedFolders, ATreeIsRemovedWithoutFollowingLinks) {
  writeText(scratch_ / "own" / "tree" / "a" / "b" / "file", "text");
  fs::create_directory_symlink(scratch_ / "victim", scratch_ / "own" / "tree" / "a" / "link");
  fs::create_symlink(scratch_ / "victim" / "precious", scratch_ / "own" / "tree" / "file");
  fs::create_directory_symlink(scratch_ / "victim", scratch_ / "own" / "link");
  EXPECT_TRUE(remove("tree"));
  EXPECT_TRUE(remove("link"));
  EXPECT_TRUE(remove("absent"));
  EXPECT_TRUE(fs::is_empty(scratch_ / "own"));
}

TEST_F(OwnedFolders, OnlySingleNamesAreAccepted) {
  for (const auto& name : {std::string(), std::string("."), std::string(".."), std::string("../victim"),
                           std::string("a/../../victim"), (scratch_ / "victim").string(), std::string("x/"),
                           std::string("victim\0x", 8), std::string(300, 'x')}) {
    EXPECT_EQ(refusal(name), Reason::unsafe_path) << name;
  }
}

TEST_F(OwnedFolders, AnEndlessFolderIsNotFollowedForever) {
  fs::path path = scratch_ / "own" / "deep";
  for (int i = 0; i < 70; ++i) path /= "d";
  fs::create_directories(path);
  EXPECT_EQ(refusal("deep"), Reason::too_large);
  EXPECT_TRUE(fs::exists(path));
}

/// Whatever is opened below a folder stays there, even through parents that lead back.
TEST_F(OwnedFolders, NothingAboveAFolderIsOpened) {
  for (const char* path : {"../victim/precious", "../own/../victim/precious", "../own/inside"}) {
    writeText(scratch_ / "own" / "inside", "text");
    const auto opened = sys::openBeneath(Stage::logs, own_->dir(), path);
    ASSERT_FALSE(opened) << path;
    EXPECT_EQ(opened.error().reason, Reason::unsafe_path) << path;
  }
}

/// Mounts of the same file system, which device numbers do not show, and of a different one.
TEST_F(OwnedFolders, AMountInATreeIsNotCrossed) {
  const auto place = scratch_ / "own" / "tree" / "place";
  for (const bool bind : {true, false}) {
    fs::create_directories(place);
    ASSERT_EQ(bind ? ::mount((scratch_ / "victim").c_str(), place.c_str(), nullptr, MS_BIND, nullptr)
                   : ::mount("tmpfs", place.c_str(), "tmpfs", 0, "mode=755"),
              0);
    writeText(place / "inner", "text");
    EXPECT_EQ(refusal("tree"), Reason::not_permitted) << bind;
    EXPECT_EQ(contentOf(place / "inner"), "text");
    ASSERT_EQ(::umount2(place.c_str(), MNT_DETACH), 0);
    EXPECT_TRUE(remove("tree")) << "without the mount";
  }
}

TEST_F(OwnedFolders, ANamedMountIsNotCrossed) {
  fs::create_directories(scratch_ / "own" / "place");
  ASSERT_EQ(
      ::mount((scratch_ / "victim").c_str(), (scratch_ / "own" / "place").c_str(), nullptr, MS_BIND, nullptr),
      0);
  EXPECT_EQ(refusal("place"), Reason::not_permitted);
  ASSERT_EQ(::umount2((scratch_ / "own" / "place").c_str(), MNT_DETACH), 0);
}

TEST_F(OwnedFolders, AFolderOfOthersIsNotAdopted) {
  const auto take = [this](const char* name) {
    return sys::openDir(Stage::logs, scratch_ / name).and_then([](sys::DirFd dir) {
      return sys::OwnedFolder::take(Stage::logs, std::move(dir), "it");
    });
  };
  fs::create_directory(scratch_ / "open");
  ASSERT_EQ(::chmod((scratch_ / "open").c_str(), 01777), 0);
  fs::create_directory(scratch_ / "theirs");
  ASSERT_EQ(::chown((scratch_ / "theirs").c_str(), 65534, 65534), 0);
  for (const char* name : {"open", "theirs"}) {
    const auto taken = take(name);
    ASSERT_FALSE(taken) << name;
    EXPECT_EQ(taken.error().reason, Reason::unsafe_owner);
  }
}

TEST_F(OwnedFolders, AFolderThatIsALinkIsNotOpened) {
  fs::create_directory_symlink(scratch_ / "victim", scratch_ / "own" / "link");
  const auto opened = sys::OwnedFolder::make(Stage::logs, own_->dir(), "link");
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().reason, Reason::unsafe_path);
}

TEST_F(OwnedFolders, AScratchFolderIsRemovedWithEverythingBelowIt) {
  std::string path;
  {
    auto scratch = sys::ScratchFolder::make(Stage::logs, scratch_, "s.");
    ASSERT_TRUE(scratch) << scratch.error().message();
    path = scratch->path();
    writeText(fs::path(path) / "a" / "b", "text");
    fs::create_directory_symlink(scratch_ / "victim", fs::path(path) / "link");
  }
  EXPECT_FALSE(fs::exists(path));
  {
    auto scratch = sys::ScratchFolder::make(Stage::logs, scratch_, "s.");
    ASSERT_TRUE(scratch);
    path = scratch->path();
    scratch->release();
  }
  EXPECT_TRUE(fs::exists(path));
}

}  // namespace

/// Leaves are ended and removed only below a pod's cgroup, and only under a leaf's name.
TEST_F(LaunchTest, OnlyOurOwnLeavesCanBeRemoved) {
  const auto trees = launcher::CgroupTrees::open(hierarchies, folder / "run");
  ASSERT_TRUE(trees) << trees.error().message();
  const auto& hierarchy = hierarchies.front();
  const auto pod = hierarchy.folderOf(sandbox->status().cgroupParent);
  const auto scratch = (folder / "pod" / "fallback-x").string();
  std::filesystem::create_directories(scratch);
  for (const auto& path :
       {scratch, pod, pod + "/fallback-", pod + "/container", hierarchy.mountPoint + "/fallback-x",
        hierarchy.mountPoint + "/.." + scratch, hierarchy.mountPoint + "/../../../.." + scratch,
        pod + "/fallback-x/..", std::string("fallback-x"), std::string()}) {
    const auto leaf = trees->leaf(path);
    ASSERT_FALSE(leaf) << path;
    EXPECT_EQ(leaf.error().reason, Reason::unsafe_path) << path;
  }
  EXPECT_EQ(trees->leaf(hierarchy.mountPoint + "/no-such-pod/fallback-x").error().reason, Reason::not_found);
  EXPECT_TRUE(std::filesystem::exists(scratch));
  EXPECT_TRUE(trees->leaf(pod + "/fallback-x"));

  auto elsewhere = hierarchy;
  elsewhere.mountPoint = folder;
  const auto refused = launcher::CgroupTrees::open({elsewhere}, folder / "run");
  ASSERT_FALSE(refused) << "a folder that is not a cgroup";
  EXPECT_EQ(refused.error().reason, Reason::not_permitted);
}

}  // namespace fallbackd::test
