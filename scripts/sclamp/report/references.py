"""Works that a Methods paragraph may cite. Only those that were used end up in the list."""

from __future__ import annotations

from typing import NamedTuple


class Reference(NamedTuple):
    """cited: as in the text. full: as in the list."""

    cited: str
    full: str


REFERENCES: dict[str, Reference] = {
    "snakemake": Reference(
        "Mölder et al., 2021",
        "Mölder F, et al. Sustainable data analysis with Snakemake. F1000Research 10:33 (2021). "
        "doi:10.12688/f1000research.29032.2",
    ),
    "anndata": Reference(
        "Virshup et al., 2024",
        "Virshup I, et al. anndata: Access and store annotated data matrices. Journal of Open Source Software 9:4371 "
        "(2024). doi:10.21105/joss.04371",
    ),
    "scanpy": Reference(
        "Wolf et al., 2018",
        "Wolf FA, Angerer P, Theis FJ. SCANPY: large-scale single-cell gene expression data analysis. Genome Biology "
        "19:15 (2018). doi:10.1186/s13059-017-1382-0",
    ),
    "seurat_v3": Reference(
        "Stuart et al., 2019",
        "Stuart T, et al. Comprehensive integration of single-cell data. Cell 177:1888-1902 (2019). "
        "doi:10.1016/j.cell.2019.05.031",
    ),
    "seurat": Reference(
        "Satija et al., 2015",
        "Satija R, et al. Spatial reconstruction of single-cell gene expression data. Nature Biotechnology 33:495-502 "
        "(2015). doi:10.1038/nbt.3192",
    ),
    "cell_ranger": Reference(
        "Zheng et al., 2017",
        "Zheng GXY, et al. Massively parallel digital transcriptional profiling of single cells. Nature Communications "
        "8:14049 (2017). doi:10.1038/ncomms14049",
    ),
    "sentence_transformers": Reference(
        "Reimers and Gurevych, 2019",
        "Reimers N, Gurevych I. Sentence-BERT: Sentence embeddings using Siamese BERT-networks. EMNLP-IJCNLP (2019). "
        "doi:10.18653/v1/D19-1410",
    ),
    "minilm": Reference(
        "Wang et al., 2020",
        "Wang W, et al. MiniLM: Deep self-attention distillation for task-agnostic compression of pre-trained "
        "transformers. Advances in Neural Information Processing Systems 33 (2020).",
    ),
    "esm2": Reference(
        "Lin et al., 2023",
        "Lin Z, et al. Evolutionary-scale prediction of atomic-level protein structure with a language model. Science "
        "379:1123-1130 (2023). doi:10.1126/science.ade2574",
    ),
    "scilama": Reference(
        "Hu et al., 2025",
        "Hu H, Zhang S, Choi Y, Malladi VS, Quon G. sciLaMA: A single-cell representation learning framework to "
        "leverage prior knowledge from large language models. Proceedings of the 42nd International Conference on "
        "Machine Learning, PMLR 267:24850-24868 (2025).",
    ),
    "vae": Reference(
        "Kingma and Welling, 2014",
        "Kingma DP, Welling M. Auto-encoding variational Bayes. International Conference on Learning Representations "
        "(2014). arXiv:1312.6114",
    ),
    "scvi": Reference(
        "Lopez et al., 2018",
        "Lopez R, Regier J, Cole MB, Jordan MI, Yosef N. Deep generative modeling for single-cell transcriptomics. "
        "Nature Methods 15:1053-1058 (2018). doi:10.1038/s41592-018-0229-2",
    ),
    "ppca": Reference(
        "Tipping and Bishop, 1999",
        "Tipping ME, Bishop CM. Probabilistic principal component analysis. Journal of the Royal Statistical Society B "
        "61:611-622 (1999). doi:10.1111/1467-9868.00196",
    ),
    "nt_xent": Reference(
        "Chen et al., 2020",
        "Chen T, Kornblith S, Norouzi M, Hinton G. A simple framework for contrastive learning of visual "
        "representations. Proceedings of the 37th International Conference on Machine Learning, PMLR 119:1597-1607 "
        "(2020).",
    ),
    "cell_ontology": Reference(
        "Diehl et al., 2016",
        "Diehl AD, et al. The Cell Ontology 2016: enhanced content, modularization, and ontology interoperability. "
        "Journal of Biomedical Semantics 7:44 (2016). doi:10.1186/s13326-016-0088-7",
    ),
    "socam": Reference(
        "Magre et al., 2026",
        "Magre et al. bioRxiv (2026). doi:10.64898/2026.01.13.699356",
    ),
    "hierarchical_f1": Reference(
        "Kiritchenko et al., 2006",
        "Kiritchenko S, Matwin S, Nock R, Famili AF. Learning and evaluation in the presence of class hierarchies: "
        "Application to text categorization. Advances in Artificial Intelligence, LNCS 4013:395-406 (2006). "
        "doi:10.1007/11766247_34",
    ),
    "calibration": Reference(
        "Guo et al., 2017",
        "Guo C, Pleiss G, Sun Y, Weinberger KQ. On calibration of modern neural networks. Proceedings of the 34th "
        "International Conference on Machine Learning, PMLR 70:1321-1330 (2017).",
    ),
    "harmony": Reference(
        "Korsunsky et al., 2019",
        "Korsunsky I, et al. Fast, sensitive and accurate integration of single-cell data with Harmony. Nature Methods "
        "16:1289-1296 (2019). doi:10.1038/s41592-019-0619-0",
    ),
    "pytorch": Reference(
        "Paszke et al., 2019",
        "Paszke A, et al. PyTorch: An imperative style, high-performance deep learning library. Advances in Neural "
        "Information Processing Systems 32 (2019).",
    ),
    "scib": Reference(
        "Luecken et al., 2022",
        "Luecken MD, et al. Benchmarking atlas-level data integration in single-cell genomics. Nature Methods 19:41-50 "
        "(2022). doi:10.1038/s41592-021-01336-8",
    ),
    "bras": Reference(
        "Rautenstrauch and Ohler, 2025",
        "Rautenstrauch P, Ohler U. Shortcomings of silhouette in single-cell integration benchmarking. Nature "
        "Biotechnology (2025). doi:10.1038/s41587-025-02743-4; preprint: bioRxiv 2025.01.21.634098.",
    ),
    "cilisi": Reference(
        "Andreatta et al., 2024",
        "Andreatta M, et al. Semi-supervised integration of single-cell transcriptomics data. Nature Communications "
        "15:872 (2024). doi:10.1038/s41467-024-45240-z",
    ),
    "cell_cycle": Reference(
        "Tirosh et al., 2016",
        "Tirosh I, et al. Dissecting the multicellular ecosystem of metastatic melanoma by single-cell RNA-seq. "
        "Science 352:189-196 (2016). doi:10.1126/science.aad0501",
    ),
    "dpt": Reference(
        "Haghverdi et al., 2016",
        "Haghverdi L, et al. Diffusion pseudotime robustly reconstructs lineage branching. Nature Methods 13:845-848 "
        "(2016). doi:10.1038/nmeth.3971",
    ),
    "moran": Reference(
        "Moran, 1950",
        "Moran PAP. Notes on continuous stochastic phenomena. Biometrika 37:17-23 (1950). doi:10.1093/biomet/37.1-2.17",
    ),
    "scgraph": Reference(
        "Wang et al., 2025",
        "Wang H, Leskovec J, Regev A. Limitations of cell embedding metrics assessed using drifting islands. Nature "
        "Biotechnology (2025). doi:10.1038/s41587-025-02702-z; preprint of 2024: Metric mirages in cell embeddings.",
    ),
    "holm": Reference(
        "Holm, 1979",
        "Holm S. A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics 6:65-70 "
        "(1979).",
    ),
    "bootstrap": Reference(
        "Efron, 1979",
        "Efron B. Bootstrap methods: another look at the jackknife. The Annals of Statistics 7:1-26 (1979). "
        "doi:10.1214/aos/1176344552",
    ),
    "fdr": Reference(
        "Benjamini and Hochberg, 1995",
        "Benjamini Y, Hochberg Y. Controlling the false discovery rate: a practical and powerful approach to multiple "
        "testing. Journal of the Royal Statistical Society B 57:289-300 (1995). "
        "doi:10.1111/j.2517-6161.1995.tb02031.x",
    ),
    "davies_bouldin": Reference(
        "Davies and Bouldin, 1979",
        "Davies DL, Bouldin DW. A cluster separation measure. IEEE Transactions on Pattern Analysis and Machine "
        "Intelligence PAMI-1:224-227 (1979). doi:10.1109/TPAMI.1979.4766909",
    ),
    "kbet": Reference(
        "Büttner et al., 2019",
        "Büttner M, et al. A test metric for assessing single-cell RNA-seq batch correction. Nature Methods 16:43-49 "
        "(2019). doi:10.1038/s41592-018-0254-1",
    ),
    "leiden": Reference(
        "Traag et al., 2019",
        "Traag VA, Waltman L, van Eck NJ. From Louvain to Leiden: guaranteeing well-connected communities. Scientific "
        "Reports 9:5233 (2019). doi:10.1038/s41598-019-41695-z",
    ),
    "faiss": Reference(
        "Johnson et al., 2021",
        "Johnson J, Douze M, Jégou H. Billion-scale similarity search with GPUs. IEEE Transactions on Big Data "
        "7:535-547 (2021). doi:10.1109/TBDATA.2019.2921572",
    ),
    "umap": Reference(
        "McInnes et al., 2018",
        "McInnes L, Healy J, Melville J. UMAP: Uniform manifold approximation and projection for dimension reduction. "
        "arXiv:1802.03426 (2018).",
    ),
    "igraph": Reference(
        "Csárdi and Nepusz, 2006",
        "Csárdi G, Nepusz T. The igraph software package for complex network research. InterJournal Complex Systems "
        "1695 (2006).",
    ),
}


class Citations:
    """Hands out citations and remembers which were used, in the order of their first use."""

    def __init__(self) -> None:
        self.used: list[str] = []

    def __call__(self, *keys: str) -> str:
        """Cite works: "(Wolf et al., 2018; Traag et al., 2019)"."""
        self.used += [key for key in keys if key not in self.used]
        return "(" + "; ".join(REFERENCES[key].cited for key in keys) + ")"

    @property
    def listed(self) -> list[str]:
        """The works that were cited, as for a list of references, by name."""
        return sorted(REFERENCES[key].full for key in self.used)
