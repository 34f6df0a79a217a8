// SPDX-License-Identifier: Apache-2.0
// A hostile author's archives: each row is refused for its reason, and nothing appears outside the target
// folder.
#include "attack_record.hpp"
#include "pack/tar_reader.hpp"
#include "pack/unpack.hpp"
#include "signed_cache.hpp"
#include "sys/file.hpp"
#include "tar_writer.hpp"

#include <fcntl.h>
#include <functional>

namespace fallbackd::pack {
namespace {

namespace fs = std::filesystem;
using test::Compression;
using test::TarWriter;

struct Row {
  const char* name;
  Reason reason;
  std::function<void(const std::string& path)> pack;

  friend void PrintTo(const Row& row, std::ostream* out) { *out << row.name; }
};

/// A good archive with some of its bytes changed.
void writeChanged(const std::string& path, const std::function<void(std::string&)>& change,
                  Compression compression = Compression::none) {
  TarWriter(path, compression).file("checkout-v1", std::string(5000, 'x'));
  auto bytes = test::readBytes(path);
  change(bytes);
  test::writeBytes(path, bytes, 0644);
}

/// Corrects the checksum of a ustar header.
void setChecksum(std::string& bytes) {
  bytes.replace(148, 8, "        ");
  unsigned sum = 0;
  for (std::size_t i = 0; i < 512; ++i) sum += static_cast<unsigned char>(bytes[i]);
  std::array<char, 8> text{};
  std::snprintf(text.data(), text.size(), "%06o", sum);
  bytes.replace(148, 7, std::string(text.data(), 7));
}

/// The size in a ustar header.
void setSize(std::string& bytes, const std::string& octal) {
  bytes.replace(124, 11, octal);
  setChecksum(bytes);
}

/// Turns the first entry, a file, into a hard link to `target` that contains the file's bytes, as pax allows.
void makeHardLink(std::string& bytes, const std::string& target) {
  bytes[156] = '1';
  bytes.replace(157, target.size(), target);
  setChecksum(bytes);
}

const std::vector<Row>& rows() {
  using P = const std::string&;
  static const std::vector<Row> all{
      {"layer: path out of the archive", Reason::unsafe_path,
       [](P p) { TarWriter(p).file("../escaped-v1", "x"); }},
      {"layer: path out of a subfolder", Reason::unsafe_path,
       [](P p) { TarWriter(p).file("a/../../escaped-v1", "x"); }},
      {"layer: absolute path", Reason::unsafe_path, [](P p) { TarWriter(p).file("/escaped-v1", "x"); }},
      {"layer: folder that leads out", Reason::unsafe_path, [](P p) { TarWriter(p).folder("../a"); }},
      {"layer: symlink", Reason::unsafe_file_type,
       [](P p) { TarWriter(p).link("checkout-v1", "/etc/passwd", false); }},
      {"layer: file through a symlinked folder", Reason::unsafe_file_type,
       [](P p) { TarWriter(p).link("a", "/tmp", false).file("a/checkout-v1", "x"); }},
      {"layer: hard link", Reason::unsafe_file_type,
       [](P p) { TarWriter(p).file("a-v1", "x").link("checkout-v1", "a-v1", true); }},
      {"layer: hard link out of the archive", Reason::unsafe_file_type,
       [](P p) { TarWriter(p).link("checkout-v1", "/etc/shadow", true); }},
      {"layer: hard link with data", Reason::unsafe_file_type,
       [](P p) { writeChanged(p, [](std::string& b) { makeHardLink(b, "a-v1"); }); }},
      {"layer: hard link out of the archive with data", Reason::unsafe_file_type,
       [](P p) { writeChanged(p, [](std::string& b) { makeHardLink(b, "/nowhere/shadow"); }); }},
      {"layer: character device", Reason::unsafe_file_type,
       [](P p) { TarWriter(p).special("checkout-v1", AE_IFCHR); }},
      {"layer: block device", Reason::unsafe_file_type,
       [](P p) { TarWriter(p).special("checkout-v1", AE_IFBLK); }},
      {"layer: FIFO", Reason::unsafe_file_type, [](P p) { TarWriter(p).special("checkout-v1", AE_IFIFO); }},
      {"layer: one name twice", Reason::invalid,
       [](P p) { TarWriter(p).file("checkout-v1", "x").file("checkout-v1", "y"); }},
      {"layer: one name twice, once as ./", Reason::invalid,
       [](P p) { TarWriter(p).file("checkout-v1", "x").file("./checkout-v1", "y"); }},
      {"layer: files in two folders", Reason::invalid,
       [](P p) { TarWriter(p).file("a/checkout-v1", "x").file("b/checkout-v1", "y"); }},
      {"layer: files of two names in two folders", Reason::invalid,
       [](P p) { TarWriter(p).file("a/cart-v1", "x").file("b/checkout-v1", "y"); }},
      {"layer: sparse file", Reason::invalid, [](P p) { TarWriter(p).sparse("checkout-v1", 1 << 20); }},
      {"layer: cut off in a file", Reason::invalid,
       [](P p) { writeChanged(p, [](std::string& b) { b.resize(2000); }); }},
      {"layer: cut off in a gzip stream", Reason::invalid,
       [](P p) {
         writeChanged(
             p, [](std::string& b) { b.resize(b.size() / 2); }, Compression::gzip);
       }},
      {"layer: damaged header", Reason::invalid,
       [](P p) { writeChanged(p, [](std::string& b) { b[0] = 'Z'; }); }},
      {"layer: size beyond the limit", Reason::too_large,
       [](P p) { writeChanged(p, [](std::string& b) { setSize(b, "77777777777"); }); }},
      {"layer: negative size", Reason::invalid,
       [](P p) { writeChanged(p, [](std::string& b) { setSize(b, std::string(11, '\xff')); }); }},
      {"layer: no tar file", Reason::invalid, [](P p) { test::writeBytes(p, std::string(3000, 'x'), 0644); }},
      {"layer: empty file", Reason::invalid, [](P p) { test::writeBytes(p, "", 0644); }},
      {"layer: another archive's format", Reason::invalid,
       [](P p) { test::writeBytes(p, std::string("PK\x03\x04", 4) + std::string(600, '\0'), 0644); }},
      {"layer: 11,000 entries", Reason::too_large,
       [](P p) {
         TarWriter tar(p, Compression::gzip);
         for (int i = 0; i < 11'000; ++i) tar.folder("f" + std::to_string(i));
       }},
  };
  return all;
}

struct HostileLayer : testing::TestWithParam<Row> {};

TEST_P(HostileLayer, IsRefusedForItsReason) {
  const auto& row = GetParam();
  const test::TempFolder folder;
  const auto layer = folder.path() + "/layer";
  const auto into = folder.path() + "/deep/into";
  fs::create_directories(into);
  {
    TarWriter(layer).folder("opt").file("opt/checkout-v1", "x");
    const auto control = unpack(layer, into);
    ASSERT_TRUE(control) << control.error().message();
    ASSERT_TRUE(fs::remove(into + "/checkout-v1"));
  }
  row.pack(layer);
  const auto result = unpack(layer, into);
  test::recordAttack(row.name, toString(row.reason), result ? "UNPACKED" : toString(result.error().reason),
                     result ? "" : result.error().context);
  ASSERT_FALSE(result) << row.name;
  EXPECT_EQ(toString(result.error().reason), toString(row.reason)) << result.error().message();
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), {}), 2) << "no other files";
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path() + "/deep"), {}), 1);
}

INSTANTIATE_TEST_SUITE_P(Table, HostileLayer, testing::ValuesIn(rows()),
                         [](const auto& row) { return test::testName(row.param.name); });

TEST(TarLimits, BombsEndAtTheLimit) {
  const test::TempFolder folder;
  const auto path = folder.path() + "/bomb";
  const auto visited = [&](TarLimits limits) {
    const sys::UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    int count = 0;
    const auto result = visitTar(
        file, "it", [&](const TarFile&) -> Result<bool> { return ++count > 0; }, limits);
    return std::pair(result ? "" : std::string(toString(result.error().reason)), count);
  };
  {
    TarWriter tar(path, Compression::gzip);
    for (int i = 0; i < 10; ++i) tar.file("zeros" + std::to_string(i), std::string(1 << 20, '\0'));
  }
  EXPECT_LT(fs::file_size(path), 100'000U);
  EXPECT_EQ(visited({}), std::pair(std::string(), 10));
  EXPECT_EQ(visited({.fileBytes = 1000}), std::pair(std::string("too_large"), 0));
  EXPECT_EQ(visited({.allBytes = 4 << 20}), std::pair(std::string("too_large"), 4));
  // Announced sizes count before anything is unpacked.
  EXPECT_EQ(visited({.allBytes = 5 << 19}), std::pair(std::string("too_large"), 2));
  EXPECT_EQ(visited({.entries = 3}), std::pair(std::string("too_large"), 3));
}

TEST(TarLimits, LayersShareThem) {
  const test::TempFolder folder;
  const auto applied = [&](TarLimits limits) {
    const auto into = folder.path() + "/into";
    fs::remove_all(into);
    fs::create_directory(into);
    const auto dir = sys::openDir(Stage::cli, into);
    LayerStack stack(*dir, {}, limits);
    std::string all;
    for (const auto* name : {"a-v1", "b-v1", "c-v1"}) {
      const auto path = folder.path() + "/" + name;
      TarWriter(path, Compression::gzip).file(name, std::string(1 << 20, '\0'));
      const sys::UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
      const auto result = stack.apply(file, name);
      all += result ? "ok " : std::string(toString(result.error().reason)) + " ";
    }
    return all;
  };
  EXPECT_EQ(applied({}), "ok ok ok ");
  EXPECT_EQ(applied({.allBytes = 5 << 19}), "ok ok too_large ");
  EXPECT_EQ(applied({.entries = 2}), "ok ok too_large ");
}

TEST(TarFiles, AreWrittenThroughNothingThatIsThere) {
  const test::TempFolder folder;
  const auto into = folder.path() + "/into";
  fs::create_directory(into);
  test::writeBytes(folder.path() + "/elsewhere", "as it was", 0644);
  TarWriter(folder.path() + "/layer").file("checkout-v1", "x");
  for (const bool symbolic : {true, false}) {
    if (symbolic) {
      fs::create_symlink(folder.path() + "/elsewhere", into + "/checkout-v1");
    } else {
      fs::create_hard_link(folder.path() + "/elsewhere", into + "/checkout-v1");
    }
    EXPECT_TRUE(unpack(folder.path() + "/layer", into));
    EXPECT_EQ(test::readBytes(into + "/checkout-v1"), "x");
    EXPECT_EQ(test::readBytes(folder.path() + "/elsewhere"), "as it was");
    fs::remove(into + "/checkout-v1");
  }
}

/// Data that no entry announces: here the attributes of folders. A few bytes in the archive become 200 KB for
/// each folder.
TEST(TarLimits, UnpackedBytesCountEvenIfNoEntryAnnouncesThem) {
  const test::TempFolder folder;
  const auto path = folder.path() + "/bomb";
  constexpr int kFolders = 30;
  {
    TarWriter tar(path, Compression::gzip);
    for (int i = 0; i < kFolders; ++i) tar.folder("f" + std::to_string(i), std::string(100'000, '\0'));
    tar.file("checkout-v1", "x");
  }
  ASSERT_LT(fs::file_size(path), 100'000U);
  const auto visited = [&](std::uint64_t allBytes) {
    const sys::UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    TarLimits limits{.allBytes = allBytes};
    const auto result = visitTar(
        file, "it", [](const TarFile&) -> Result<bool> { return true; }, limits);
    return result ? "" : std::string(toString(result.error().reason));
  };
  EXPECT_EQ(visited(100 << 20), "");
  EXPECT_EQ(visited(1 << 20), "too_large");
}

}  // namespace
}  // namespace fallbackd::pack
