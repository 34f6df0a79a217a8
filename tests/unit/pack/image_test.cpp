// SPDX-License-Identifier: Apache-2.0
// Packs as OCI layers and images: their content is installed, and changed bytes in a blob are detected.
#include "cache/elf.hpp"
#include "cache/install.hpp"
#include "cache/json.hpp"
#include "pack/image_writer.hpp"
#include "pack/oci_layout.hpp"
#include "pack/pack_image.hpp"
#include "pack/unpack.hpp"
#include "shell.hpp"
#include "signed_cache.hpp"
#include "sys/file.hpp"
#include "tar_writer.hpp"

#include <fcntl.h>
#include <functional>
#include <map>
#include <set>
#include <sys/file.h>
#include <thread>
#include <vector>

#include <boost/json.hpp>

namespace fallbackd::pack {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using test::Compression;
using test::shell;
using test::TarWriter;

struct ImageTest : testing::Test {
  ImageTest() {
    fs::create_directories(path("into"));
    fs::create_directories(path("image/blobs/sha256"));
    test::writeBytes(path("image/oci-layout"), R"({"imageLayoutVersion":"1.0.0"})", 0644);
  }
  [[nodiscard]] std::string path(const std::string& name) const { return folder.path() + "/" + name; }
  [[nodiscard]] std::string read(const std::string& name) const {
    return test::readBytes(path("into/" + name));
  }
  [[nodiscard]] bool has(const std::string& name) const { return fs::exists(path("into/" + name)); }

  /// Stores the bytes as a blob; returns its descriptor.
  [[nodiscard]] json::object blob(const std::string& bytes, const std::string& mediaType) const {
    const auto digest = toHex(cache::Sha256::of(bytes));
    test::writeBytes(path("image/blobs/sha256/" + digest), bytes, 0644);
    return {{"mediaType", mediaType}, {"digest", "sha256:" + digest}, {"size", bytes.size()}};
  }
  [[nodiscard]] json::object layer(const std::function<void(TarWriter&)>& fill) const {
    {
      TarWriter tar(path("layer"), Compression::gzip);
      fill(tar);
    }
    return blob(test::readBytes(path("layer")), "application/vnd.oci.image.layer.v1.tar+gzip");
  }
  [[nodiscard]] json::object manifest(const std::vector<json::object>& layers) const {
    const json::object text{{"schemaVersion", 2}, {"layers", json::array(layers.begin(), layers.end())}};
    return blob(json::serialize(text), "application/vnd.oci.image.manifest.v1+json");
  }
  void writeIndex(const std::vector<json::object>& manifests) const {
    const json::object text{{"schemaVersion", 2},
                            {"manifests", json::array(manifests.begin(), manifests.end())}};
    test::writeBytes(path("image/index.json"), json::serialize(text), 0644);
  }
  Result<> unpackImage() const { return unpack(path("image"), path("into")); }

  test::TempFolder folder;
};

json::object forPlatform(json::object descriptor, std::string_view architecture) {
  descriptor["platform"] = {{"os", "linux"}, {"architecture", architecture}};
  return descriptor;
}

TEST_F(ImageTest, ALayerOfEachCompressionIsUnpacked) {
  for (const auto compression : {Compression::none, Compression::gzip, Compression::zstd}) {
    TarWriter(path("layer"), compression)
        .folder("./")
        .folder("./opt/")
        .file("./opt/cart-v1", "cart")
        .file("./opt/.hidden", "passed over")
        .file("./opt/cart-v1.sigstore.json", "{}");
    const auto done = unpack(path("layer"), path("into"));
    ASSERT_TRUE(done) << done.error().message();
    EXPECT_EQ(read("cart-v1"), "cart");
    EXPECT_EQ(read("cart-v1.sigstore.json"), "{}");
    EXPECT_FALSE(has(".hidden"));
    fs::remove_all(path("into"));
    fs::create_directory(path("into"));
  }
}

TEST_F(ImageTest, UpperLayersReplaceAndRemove) {
  writeIndex({manifest(
      {layer([](auto& tar) { tar.file("p/a-v1", "old").file("p/b-v1", "b").file("p/c-v1", "c"); }),
       layer([](auto& tar) { tar.file("p/a-v1", "new").file("p/.wh.b-v1", "").file("p/d-v1", "d"); })})});
  ASSERT_TRUE(unpackImage());
  EXPECT_EQ(read("a-v1"), "new");
  EXPECT_FALSE(has("b-v1"));
  EXPECT_EQ(read("c-v1") + read("d-v1"), "cd");
}

TEST_F(ImageTest, AWholeFolderCanBeRemoved) {
  for (const auto* whiteout : {"p/.wh..wh..opq", ".wh.p"}) {
    fs::remove_all(path("into"));
    fs::create_directory(path("into"));
    // Files in the same layer as the whiteout stay, whatever their order.
    writeIndex({manifest({layer([](auto& tar) { tar.file("p/a-v1", "old").file("p/b-v1", "b"); }),
                          layer([&](auto& tar) { tar.file("p/a-v1", "new").file(whiteout, ""); })})});
    const auto done = unpackImage();
    ASSERT_TRUE(done) << done.error().message();
    EXPECT_EQ(read("a-v1"), "new") << whiteout;
    EXPECT_FALSE(has("b-v1")) << whiteout;
  }
}

TEST_F(ImageTest, TheImageForThisNodeIsUsed) {
  const auto other = manifest({layer([](auto& tar) { tar.file("p/a-v1", "other"); })});
  const auto mine = manifest({layer([](auto& tar) { tar.file("p/a-v1", "mine"); })});
  const json::object both{
      {"manifests", json::array{forPlatform(other, "s390x"), forPlatform(mine, cache::nodeArchitecture())}}};
  writeIndex({blob(json::serialize(both), "application/vnd.oci.image.index.v1+json")});
  const auto done = unpackImage();
  ASSERT_TRUE(done) << done.error().message();
  EXPECT_EQ(read("a-v1"), "mine");
  writeIndex({forPlatform(other, "s390x")});
  EXPECT_EQ(unpackImage().error().reason, Reason::arch_mismatch);
  writeIndex({mine, other});
  EXPECT_EQ(unpackImage().error().reason, Reason::invalid) << "two images match";
}

TEST_F(ImageTest, IndexesInIndexesEnd) {
  auto one = manifest({layer([](auto& tar) { tar.file("p/a-v1", "a"); })});
  writeIndex({one});
  for (int depth = 1; depth <= 3; ++depth) {
    const auto done = unpackImage();
    ASSERT_TRUE(done) << depth << ": " << done.error().message();
    fs::remove(path("into/a-v1"));
    one = blob(json::serialize(json::object{{"manifests", json::array{one}}}),
               "application/vnd.oci.image.index.v1+json");
    writeIndex({one});
  }
  const auto done = unpackImage();
  ASSERT_FALSE(done);
  EXPECT_EQ(toString(done.error().reason), "invalid");
}

TEST_F(ImageTest, WhatIsNamedSeveralTimesIsReadOnce) {
  const auto one = manifest({layer([](auto& tar) { tar.file("p/a-v1", "a"); })});
  const auto index = blob(json::serialize(json::object{{"manifests", json::array{one, one}}}),
                          "application/vnd.oci.image.index.v1+json");
  writeIndex({index, one, index});
  const auto done = unpackImage();
  ASSERT_TRUE(done) << done.error().message();
  EXPECT_EQ(read("a-v1"), "a");
}

/// An index of some 100 KB names a second index 2,000 times, which does the same with an image: four million
/// images.
TEST_F(ImageTest, IndexesDoNotMultiply) {
  const auto one = manifest({layer([](auto& tar) { tar.file("p/a-v1", "a"); })});
  const json::object many{{"manifests", json::array(2000, one)}};
  const auto index = blob(json::serialize(many), "application/vnd.oci.image.index.v1+json");
  const std::vector<json::object> again(2000, index);
  for (const auto& manifests : {again, {index}}) {
    writeIndex(manifests);
    const auto done = unpackImage();
    ASSERT_FALSE(done);
    EXPECT_EQ(toString(done.error().reason), "too_large");
    EXPECT_EQ(done.error().context, path("image") +
                                        " names more than 512 images and indexes; choose one by " +
                                        "its tag (" + path("image") + ":TAG), or copy that image alone");
  }
}

/// Each index names few enough images, but all together name too many.
TEST_F(ImageTest, TheNumberOfImagesCountsOverAllIndexes) {
  std::vector<json::object> indexes;
  for (int i = 0; i < 30; ++i) {
    json::array named;
    for (int k = 0; k < 20; ++k) {
      named.push_back(forPlatform(
          blob(std::to_string(i) + "." + std::to_string(k), "application/vnd.oci.image.manifest.v1+json"),
          "s390x"));
    }
    indexes.push_back(blob(json::serialize(json::object{{"manifests", std::move(named)}}),
                           "application/vnd.oci.image.index.v1+json"));
  }
  writeIndex(indexes);
  EXPECT_EQ(toString(unpackImage().error().reason), "too_large");
  indexes.resize(20);
  writeIndex(indexes);
  EXPECT_EQ(toString(unpackImage().error().reason), "arch_mismatch") << "none of these is for this node";
}

TEST_F(ImageTest, InconsistentImagesAreRefused) {
  const auto good = [&] { return layer([](auto& tar) { tar.file("p/a-v1", "a"); }); };
  const auto blobOf = [&](const json::object& descriptor) {
    return path("image/blobs/sha256/" + cache::stringAt(descriptor, "digest").substr(7));
  };
  const auto refusedFor = [&] {
    const auto done = unpackImage();
    return done ? std::string("unpacked") : std::string(toString(done.error().reason));
  };
  auto one = good();
  writeIndex({manifest({one})});
  auto bytes = test::readBytes(blobOf(one));
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  test::writeBytes(blobOf(one), bytes, 0644);
  EXPECT_EQ(refusedFor(), "digest_mismatch") << "a layer changed";
  test::writeBytes(blobOf(one), bytes + "x", 0644);
  EXPECT_EQ(refusedFor(), "digest_mismatch") << "a layer grew";
  fs::remove(blobOf(one));
  EXPECT_EQ(refusedFor(), "not_found") << "a layer is missing";
  test::writeBytes(path("elsewhere"), bytes, 0644);
  fs::create_symlink(path("elsewhere"), blobOf(one));
  EXPECT_EQ(refusedFor(), "unsafe_path") << "a layer is a symlink";
  fs::remove(blobOf(one));

  one = good();
  one["digest"] = "sha256:../../../../etc/passwd";
  writeIndex({manifest({one})});
  EXPECT_EQ(refusedFor(), "invalid") << "a digest that is a path";
  one = good();
  one["mediaType"] = "application/vnd.oci.image.layer.nondistributable.v1.tar";
  writeIndex({manifest({one})});
  EXPECT_EQ(refusedFor(), "invalid") << "a layer of another kind";
  writeIndex({manifest({})});
  EXPECT_EQ(refusedFor(), "invalid") << "no layers";
  auto loop = blob("{}", "application/vnd.oci.image.index.v1+json");
  writeIndex({loop});
  EXPECT_EQ(refusedFor(), "invalid") << "an invalid index";
  test::writeBytes(path("image/index.json"), "{", 0644);
  EXPECT_EQ(refusedFor(), "invalid") << "not JSON";
  test::writeBytes(path("image/oci-layout"), R"({"imageLayoutVersion":"2.0.0"})", 0644);
  EXPECT_EQ(refusedFor(), "invalid") << "another version";
}

/// The pack signed and packed by standard tools, installed by fallbackctl.
struct InstallImageTest : ImageTest {
  void SetUp() override {
    ASSERT_EQ(::geteuid(), 0U) << "the cache must belong to root";
    ASSERT_EQ(ctl("keygen --out " + path("k")).code, 0);
    for (const auto* name : {"keys", "pack"}) fs::create_directory(path(name));
    fs::copy_file(path("k.pub"), path("keys/k.pub"));
    for (const auto* name : {"cart", "checkout"}) {
      const auto file = path(std::string("pack/") + name + "-v1.8.3");
      fs::copy_file(PROGRAMS "/elf-static-pie", file);
      const auto output =
          ctl("sign --key " + path("k.key") + " --name " + name + " --version 1.8.3 --expires 30d " + file);
      ASSERT_EQ(output.code, 0) << output.text;
    }
  }
  static test::Output ctl(const std::string& args) { return shell(std::string(FALLBACKCTL) + " " + args); }
  test::Output install(const std::string& from) const {
    return ctl("install --cache " + path("cache") + " --keys " + path("keys") + " --state " + path("state") +
               " --from " + path(from));
  }
  void expectInstalled(const std::string& from) const {
    const auto output = install(from);
    EXPECT_EQ(output.code, 0) << from << ": " << output.text;
    for (const auto* name : {"cart-v1.8.3", "checkout-v1.8.3"}) {
      const auto file = path(std::string("cache/") + name);
      EXPECT_EQ(test::readBytes(file), test::program("elf-static-pie")) << from;
      EXPECT_EQ(fs::status(file).permissions(), fs::perms(0755)) << from;
    }
    EXPECT_EQ(std::distance(fs::directory_iterator(path("cache")), {}), 4)
        << from << " must not leave anything behind";
    fs::remove_all(path("cache"));
  }
};

TEST_F(InstallImageTest, FromTheOutputOfTarUmociAndSkopeo) {
  const auto made = shell(
      "cd " + folder.path() +
      " && tar -cf plain.tar -C pack . && tar -czf packed.tar.gz pack && "
      "umoci init --layout oci && umoci new --image oci:pack && umoci unpack --image oci:pack bundle && "
      // Not umoci insert: version 0.4.7 writes an archive without its end.
      "cp -r pack bundle/rootfs/ && umoci repack --image oci:pack bundle && "
      "skopeo --insecure-policy copy -q oci:oci:pack "
      "oci-archive:archive.tar:pack 2>&1");
  ASSERT_EQ(made.code, 0) << made.text;
  for (const auto* from : {"plain.tar", "packed.tar.gz", "oci", "archive.tar"}) expectInstalled(from);
}

/// The output of `pack build`, which needs no other program.
struct BuildTest : InstallImageTest {
  void SetUp() override {
    InstallImageTest::SetUp();
    fs::create_directory(path("small"));
    for (const auto* name : {"cart", "checkout"})
      test::writeBytes(path(std::string("small/") + name + "-v1.8.3"), name, 0755);
  }
  [[nodiscard]] test::Output build(const std::string& layout, const std::string& more = "") const {
    return shell("PATH=/nonexistent " + std::string(FALLBACKCTL) + " pack build --keys " + path("keys") +
                 " --layout " + path(layout) + " " + more + " " + path("pack"));
  }
  /// Writes such an image of small files, without fallbackctl: compressing it takes most of a second.
  void write(const std::string& layout, const std::string& tag = "pack",
             const std::map<std::string, std::string>& labels = {}) const {
    const auto pack = cache::readPack(path("pack"));
    ASSERT_TRUE(pack) << pack.error().message();
    const PackImage content{path("small/cart-v1.8.3"), path("small"), pack->items, labels, 0};
    const auto done = writePackImage(path(layout), tag, content);
    ASSERT_TRUE(done) << done.error().message();
  }
  [[nodiscard]] std::set<std::string> blobsIn(const std::string& layout) const {
    std::set<std::string> names;
    for (const auto& one : fs::directory_iterator(path(layout + "/blobs/sha256"))) {
      names.insert(one.path().filename());
    }
    return names;
  }
};

TEST_F(BuildTest, IsReadByUmociAndSkopeo) {
  const auto built = build("oci", "--tag 1.0 --label org.example.note=a=b");
  ASSERT_EQ(built.code, 0) << built.text;
  const auto read = shell(
      "cd " + folder.path() +
      " && umoci unpack --image oci:1.0 bundle && cmp bundle/rootfs/fallbackctl " FALLBACKCTL
      " && diff -r bundle/rootfs/pack pack && stat -c '%n %U %Y %a' bundle/rootfs/pack "
      "bundle/rootfs/fallbackctl && skopeo inspect oci:oci:1.0 && skopeo inspect --config oci:oci:1.0 && "
      "skopeo --insecure-policy copy -q oci:oci:1.0 oci-archive:archive.tar:1.0 2>&1");
  ASSERT_EQ(read.code, 0) << read.text;
  EXPECT_NE(read.text.find("bundle/rootfs/pack root 0 755\n"), std::string::npos) << read.text;
  EXPECT_NE(read.text.find("bundle/rootfs/fallbackctl root 0 755\n"), std::string::npos) << read.text;
  EXPECT_NE(read.text.find("\"org.example.note\": \"a=b\""), std::string::npos) << read.text;
  EXPECT_NE(read.text.find("\"io.fallbackd.pack\": "), std::string::npos) << read.text;
  EXPECT_NE(read.text.find("\"Created\": \"1970-01-01T00:00:00Z\""), std::string::npos) << read.text;
  EXPECT_NE(read.text.find("/fallbackctl"), std::string::npos) << read.text;
  expectInstalled("bundle/rootfs/pack");
}

/// A name that a tar header cannot hold.
TEST_F(BuildTest, ALongNameIsKept) {
  const std::string name(120, 'n');
  test::writeBytes(path("source"), "bytes\n", 0644);
  NewImage image;
  image.architecture = cache::nodeArchitecture();
  image.files = {{"pack/" + name, path("source"), 0640}};
  ASSERT_TRUE(writeImage(path("oci"), "long", image));
  const auto read = shell("cd " + folder.path() +
                          " && umoci unpack --image oci:long bundle 2>&1 && cat bundle/rootfs/pack/" + name +
                          " && stat -c %a bundle/rootfs/pack/" + name);
  EXPECT_EQ(read.code, 0) << read.text;
  EXPECT_NE(read.text.find("bytes\n640\n"), std::string::npos) << read.text;
  ASSERT_EQ(::truncate(path("source").c_str(), 0), 0);
  EXPECT_TRUE(writeImage(path("oci"), "long", image)) << "an empty file";
  image.files = {{"pack/folder", path("keys"), 0644}};
  EXPECT_EQ(writeImage(path("oci"), "long", image).error().reason, Reason::unsafe_file_type);
}

TEST_F(BuildTest, TheSameBinariesGiveTheSameImage) {
  write("one");
  write("one");  // into a layout that already contains the image
  ASSERT_EQ(shell("touch -d 2020-02-02 " + path("small") + "/*").code, 0);
  write("two");
  const auto differing = shell("diff -r " + path("one") + " " + path("two"));
  EXPECT_EQ(differing.code, 0) << differing.text;
  EXPECT_EQ(blobsIn("one").size(), 3U) << "layer, configuration and manifest";
}

TEST_F(BuildTest, OneWritesIntoALayoutAtATime) {
  test::writeBytes(path("source"), std::string(100'000, 'x'), 0644);
  NewImage image;
  image.architecture = cache::nodeArchitecture();
  image.files = {{"pack/cart-v1", path("source"), 0644}};
  bool asked = false;
  image.copied = [&](std::uint64_t) {
    const sys::UniqueFd layout(::open(path("oci").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    EXPECT_NE(::flock(layout.get(), LOCK_EX | LOCK_NB), 0) << "a second build would write the same files";
    asked = true;
  };
  ASSERT_TRUE(writeImage(path("oci"), "a", image));
  EXPECT_TRUE(asked);
  const sys::UniqueFd layout(::open(path("oci").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  EXPECT_EQ(::flock(layout.get(), LOCK_EX | LOCK_NB), 0) << "the lock must be released";
}

TEST_F(BuildTest, BuildsAtTheSameTimeKeepEachOthersImages) {
  constexpr int kBuilds = 8;
  std::vector<std::thread> builds;
  for (int i = 0; i < kBuilds; ++i) {
    builds.emplace_back([this, i] {
      const auto number = std::to_string(i);
      test::writeBytes(path("source" + number), std::string(300'000, static_cast<char>('a' + i)), 0644);
      NewImage image;
      image.architecture = cache::nodeArchitecture();
      image.files = {{"pack/cart-v" + number, path("source" + number), 0644}};
      const auto done = writeImage(path("oci"), number, image);
      EXPECT_TRUE(done) << done.error().message();
    });
  }
  for (auto& one : builds) one.join();
  for (int i = 0; i < kBuilds; ++i) {
    const auto done = unpack(path("oci"), path("into"), std::to_string(i));
    EXPECT_TRUE(done) << done.error().message();
    EXPECT_EQ(read("cart-v" + std::to_string(i)), std::string(300'000, static_cast<char>('a' + i)));
  }
}

TEST_F(BuildTest, AReplacedImageLeavesNoBlobsButSharedOnesStay) {
  write("oci", "a", {{"x", "1"}});
  const auto first = blobsIn("oci");
  write("oci", "b", {{"x", "2"}});
  EXPECT_EQ(blobsIn("oci").size(), 5U) << "the layer is the same";
  write("oci", "b", {{"x", "1"}});
  EXPECT_EQ(blobsIn("oci"), first);
  const auto tags = shell("umoci list --layout " + path("oci"));
  EXPECT_EQ(tags.text, "a\nb\n");
  // The blobs of an image of unknown kind are unknown, so none may be removed.
  auto index = json::parse(test::readBytes(path("oci/index.json")));
  index.at("manifests")
      .as_array()
      .push_back(json::object{
          {"mediaType", "application/vnd.example"}, {"digest", "sha256:" + *first.begin()}, {"size", 1}});
  test::writeBytes(path("oci/index.json"), json::serialize(index), 0644);
  write("oci", "b", {{"x", "3"}});
  write("oci", "b", {{"x", "4"}});
  EXPECT_EQ(blobsIn("oci").size(), 7U);
}

TEST_F(BuildTest, AFolderThatIsAnotherThingIsLeftAlone) {
  fs::create_directory(path("oci"));
  test::writeBytes(path("oci/oci-layout"), R"({"imageLayoutVersion":"2.0.0"})", 0644);
  const auto output = build("oci");
  EXPECT_EQ(output.code, 1);
  EXPECT_NE(output.text.find("is not an OCI image layout of version 1"), std::string::npos) << output.text;
  EXPECT_TRUE(blobsIn("oci").empty());
}

TEST_F(BuildTest, AWrongOptionIsAUsageErrorBeforeAnythingIsBuilt) {
  fs::remove(path("pack/cart-v1.8.3"));
  for (const std::string wrong :
       {"--label novalue", "--label =x", "--label io.fallbackd.pack=x", "--tag ''", "--tag a/b", "--tag a:b",
        "--threshold 0", "--threshold 17", "--threshold -1"}) {
    const auto output = build("other", wrong);
    EXPECT_EQ(output.code, 2) << wrong << ": " << output.text;
    EXPECT_NE(output.text.find(wrong.substr(0, wrong.find(' '))), std::string::npos) << output.text;
  }
  EXPECT_FALSE(fs::exists(path("other")));
}

TEST_F(InstallImageTest, OneBadBinaryRefusesTheLayer) {
  auto bytes = test::readBytes(path("pack/cart-v1.8.3"));
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  test::writeBytes(path("pack/cart-v1.8.3"), bytes);
  ASSERT_EQ(shell("tar -cf " + path("layer.tar") + " -C " + path("pack") + " .").code, 0);
  const auto output = install("layer.tar");
  EXPECT_EQ(output.code, 1);
  EXPECT_NE(output.text.find("digest_mismatch"), std::string::npos) << output.text;
  EXPECT_TRUE(fs::is_empty(path("cache")));
}

TEST_F(InstallImageTest, MistakesNameTheLayerAndNotTheFolderItWasUnpackedTo) {
  test::writeBytes(path("pack/README"), "hello");
  ASSERT_EQ(shell("tar -cf " + path("layer.tar") + " -C " + path("pack") + " .").code, 0);
  const auto output = install("layer.tar");
  EXPECT_EQ(output.code, 1);
  EXPECT_NE(output.text.find("layer.tar/README: is neither named"), std::string::npos) << output.text;
  EXPECT_EQ(install("nothing.tar").code, 1);
}

}  // namespace
}  // namespace fallbackd::pack
